import CMicroHTTPD
package import EventLoop
import Foundation
import Lifecycle
package import Logging
import Metrics

/// An HTTP/1.1 server on the process's loop: libmicrohttpd without threads of its own.
///
/// Connections are kept alive and pipelined requests answered in order. Everything a client can make grow has a
/// limit in the configuration, and every phase of a connection has a deadline, so a client that is slow on
/// purpose is closed however little it sends.
@LoopActor
package final class HTTPServer: Service {
  /// How often `run` goes again at once while libmicrohttpd has work, before other sockets get their turn.
  private static let roundsPerRun = 8
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
  let metrics = RouteMetrics()

  private var daemon: OpaquePointer?
  private var watcher: DescriptorWatcher?
  private let timer = LoopTimer()
  private let sweeper = LoopTimer()
  private var runIsScheduled = false
  var peers: [Peer] = []
  /// Of `peers`, those that are idle.
  var idle = IdlePeers()
  /// Of `peers`, those that were told to close.
  var closing = 0
  /// Connections open at a time, once started: the configured limit, or what the process's descriptors allow.
  package private(set) var connectionLimit = 0
  /// Connections accepted so far.
  var accepted = 0
  /// `later` answers under way.
  var laterCount = 0
  /// What the bodies under way have together beyond the small part of each, in bytes.
  var largeBodyBytes = 0
  private(set) var isStopping = false
  /// The daemon is about to be stopped, and no connection may be suspended then.
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
  }

  package func start() async throws {
    precondition(daemon == nil, "a server is started once")
    connectionLimit = boundedConnectionLimit()
    let listener = try Listener(host: configuration.host, port: configuration.port)
    // Holds the request's line and headers, what libmicrohttpd parses them into, and the answer's headers.
    let memory = max(16 << 10, configuration.headerLimit * 2)
    // The daemon is stopped before this object lets go of itself, so it may point here unretained.
    daemon = mhd_start(
      listener.descriptor, UInt32(connectionLimit), UInt32(configuration.perAddressConnectionLimit), memory,
      accessHandler, requestCompleted, connectionNotified, { _, _, text in text.map { strlen($0) } ?? 0 },
      Unmanaged.passUnretained(self).toOpaque())
    guard let daemon else {
      close(listener.descriptor)
      throw HTTPServerError(code: .cannotStart, message: "libmicrohttpd did not start")
    }
    port = listener.port
    watcher = DescriptorWatcher(descriptor: mhd_epoll_descriptor(daemon)) { [weak self] _ in self?.run() }
    watcher?.watch(.readable)
    sweeper.schedule(afterMilliseconds: Self.sweepMilliseconds, every: Self.sweepMilliseconds) {
      [weak self] in
      self?.sweep()
    }
    run()
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

  /// Lets libmicrohttpd do all it can now, and has it called again when there is more.
  private func run() {
    guard let daemon else { return }
    var timeout: CUnsignedLongLong = 0
    for _ in 0..<Self.roundsPerRun {
      MHD_run(daemon)
      guard MHD_get_timeout(daemon, &timeout) == .YES else { return }
      if timeout > 0 { break }
    }
    timer.schedule(afterMilliseconds: UInt64(timeout)) { [weak self] in self?.run() }
  }

  /// Runs once at the end of this turn of the loop, however often it is asked to.
  func runSoon() {
    guard !runIsScheduled else { return }
    runIsScheduled = true
    // Owned by this object: `runIsScheduled` allows one at a time, and it ends by itself.
    Task { @LoopActor in
      runIsScheduled = false
      run()
    }
  }

  /// Stops accepting, lets the requests under way be answered until the deadline, and closes all connections.
  ///
  /// Past the deadline `later` tasks are cancelled and their clients answered 503. An owner of long polls ends
  /// them before, so that the deadline is not needed.
  package func stop() async {
    guard let daemon, !isStopping else { return }
    isStopping = true
    acceptQueued()
    let listener = MHD_quiesce_daemon(daemon)
    if listener >= 0 { close(listener) }
    let deadline = EventLoop.shared.now + configuration.stopMilliseconds
    while peers.contains(where: delaysStop), EventLoop.shared.now < deadline {
      do { try await sleep(milliseconds: Self.stopCheckMilliseconds) } catch { break }
    }
    // Requests may still arrive during this last run.
    isClosing = true
    abandonPending()
    run()
    timer.cancel()
    sweeper.cancel()
    watcher?.close()
    watcher = nil
    self.daemon = nil
    MHD_stop_daemon(daemon)
  }

  /// Takes what the kernel has already accepted for us, which it would reset with the listening socket; another
  /// process gets what comes after.
  private func acceptQueued() {
    // Bounded, or clients that never stop connecting would keep the server from stopping.
    let last = accepted + Int(Listener.backlog)
    var before: Int
    repeat {
      before = accepted
      run()
    } while accepted > before && accepted < last
  }

  /// Whether a request of the connection is under way, or, as far as one can know, its first one on the wire.
  private func delaysStop(_ peer: Peer) -> Bool {
    switch peer.phase {
    case .idle:
      !peer.hasAsked && EventLoop.shared.now < peer.openedAt + configuration.firstRequestMilliseconds
    case .shut: false
    case .receivingBody, .handling, .sending: true
    }
  }
}
