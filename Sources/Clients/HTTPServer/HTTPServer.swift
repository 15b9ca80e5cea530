package import EventLoop
import Foundation
import Lifecycle
package import Logging
import Metrics

/// An HTTP/1.1 server on the process's loop.
///
/// Connections are kept alive and pipelined requests answered in order. Everything a client can make grow has a
/// limit in the configuration, and every phase of a connection has a deadline, so a client that is slow on
/// purpose is closed however little it sends.
@LoopActor
package final class HTTPServer: Service {
  private static let sweepMilliseconds: UInt64 = 500
  /// How often a stop looks whether the answers under way are done.
  private static let stopCheckMilliseconds: UInt64 = 5
  /// Descriptors left for everything but clients.
  private static let reservedDescriptors = 256

  package let name = "http"
  let configuration: HTTPServerConfiguration
  let logger: Logger
  let tree: RouteTree
  let crossOrigin: CrossOrigin
  /// `nil` for a server of operators, which would count its own doings among those of clients.
  let metrics: RouteMetrics?

  private(set) var listener: Listener?
  private(set) var listening: DescriptorWatcher?
  private let sweeper = LoopTimer()
  /// Where everything is received, for one connection after the other: room for what was kept of one, and for a piece more.
  let scratch: UnsafeMutableBufferPointer<UInt8>
  var answerHead = AnswerHead()
  var peers: [Peer] = []
  /// Of `peers`, those that have nothing to do.
  var idle = PeerQueue<OfServer>()
  /// Of `peers`, those whose clients are sending, in the order in which they last got on.
  var receiving = PeerQueue<OfServer>()
  /// How many connections, or requests through a proxy, each client has, where that is limited.
  var clients: [ClientAddress: Client] = [:]
  /// What every answer says of itself beside its own headers.
  let protection: Protection
  /// Connections open at a time, once started: the configured limit, or what the process's descriptors allow.
  package private(set) var connectionLimit = 0
  /// Those of one client; 0 is no limit.
  private(set) var clientLimit = 0
  /// Connections accepted so far.
  var accepted = 0
  /// `later` answers under way.
  var laterCount = 0
  /// What the bodies under way have together beyond the small part of each, in bytes.
  var largeBodyBytes = 0
  private(set) var isStopping = false
  /// All connections are about to be closed, and none may wait for an answer then.
  private(set) var isClosing = false

  /// The port listened at, once started.
  package private(set) var port: UInt16

  /// Connections open.
  package var connectionCount: Int { peers.count }

  package init(_ configuration: HTTPServerConfiguration, router: Router, logger: Logger) {
    self.configuration = configuration
    self.logger = logger
    tree = router.tree
    crossOrigin = CrossOrigin(origins: configuration.crossOrigins)
    port = configuration.port
    protection = Protection(isSecure: configuration.isSecure)
    metrics = configuration.isCounted ? RouteMetrics() : nil
    scratch = .allocate(capacity: configuration.headerLimit + Self.largePiece)
  }

  isolated deinit { scratch.deallocate() }

  package func start() async throws {
    precondition(self.listener == nil && !isStopping, "a server is started once")
    connectionLimit = boundedConnectionLimit()
    clientLimit = configuration.perClientLimit ?? max(1, connectionLimit / 4)
    let listener = try Listener(
      host: configuration.host, port: configuration.port, isShared: configuration.sharesPort)
    self.listener = listener
    port = listener.port
    listening = DescriptorWatcher(descriptor: listener.descriptor) { [weak self] _ in self?.accept() }
    listening?.watch(.readable)
    sweeper.schedule(afterMilliseconds: Self.sweepMilliseconds, every: Self.sweepMilliseconds) {
      [weak self] in
      self?.sweep()
    }
    logger.info("listening", ["http.host": configuration.host, "http.port": port])
  }

  /// The configured limit, or what the process's descriptors allow if that is less.
  private func boundedConnectionLimit() -> Int {
    let allowed = OpenFiles.connections(
      wanted: configuration.connectionLimit, reserved: Self.reservedDescriptors)
    if allowed < configuration.connectionLimit {
      logger.notice(
        "the open files limit lowers the connection limit",
        ["http.connections.configured": configuration.connectionLimit, "http.connections.allowed": allowed])
    }
    return allowed
  }

  /// Stops accepting, lets the requests under way be answered until the deadline, and closes all connections.
  ///
  /// Past the deadline `later` tasks are cancelled and their clients answered 503. An owner of long polls ends
  /// them before, so that the deadline is not needed.
  package func stop() async {
    guard let listener, !isStopping else { return }
    isStopping = true
    acceptQueued()
    listening?.close()
    listening = nil
    self.listener = nil
    Foundation.close(listener.descriptor)
    let deadline = EventLoop.shared.now + configuration.stopMilliseconds
    while peers.contains(where: delaysStop), EventLoop.shared.now < deadline {
      do { try await sleep(milliseconds: Self.stopCheckMilliseconds) } catch { break }
    }
    isClosing = true
    abandonPending()
    // Requests may have arrived meanwhile.
    for peer in peers where peer.phase == .idle || peer.phase == .receivingHead { receive(peer) }
    sweeper.cancel()
    for peer in peers { close(peer) }
  }

  /// Takes what the kernel has already accepted for us, which it would reset with the listening socket; another
  /// process gets what comes after.
  private func acceptQueued() {
    // Bounded, or clients that never stop connecting would keep the server from stopping.
    let last = accepted + Int(Listener.backlog)
    while accept(), accepted < last {}
  }

  /// Whether a request of the connection is under way, or, as far as one can know, its first one on the wire.
  private func delaysStop(_ peer: Peer) -> Bool {
    switch peer.phase {
    case .idle, .receivingHead:
      !peer.hasAsked && EventLoop.shared.now < peer.openedAt + configuration.firstRequestMilliseconds
    case .draining, .lingering, .closed: false
    case .receivingBody, .handling, .sending: true
    }
  }
}
