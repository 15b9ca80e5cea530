package import EventLoop
import Lifecycle
package import Logging

/// An HTTP/1.1 server on the process's loop.
@LoopActor
package final class HTTPServer: Service {
  package let name = "http"
  private let configuration: HTTPServerConfiguration
  private let router: Router
  private let logger: Logger

  /// The port listened at, once started.
  package private(set) var port: UInt16

  package init(_ configuration: HTTPServerConfiguration, router: Router, logger: Logger) {
    self.configuration = configuration
    self.router = router
    self.logger = logger
    port = configuration.port
  }

  package func start() async throws {}

  package func stop() async {}
}
