import EventLoop

/// Sends over plain HTTP/1.1 connections of its own, one request at a time on each.
///
/// The load generator shares its machine with the system it measures, so what a request costs here is taken from
/// the figures. This does only what our server needs: no TLS, no chunked bodies, no redirects.
@LoopActor
final class WireTransport: Transport {
  private let endpoint: WireEndpoint
  private let limit: Int
  private var idle: [WireConnection] = []
  private var all: [WireConnection] = []
  private let sweep = LoopTimer()

  /// - Parameter connections: as many as the caller sends at a time.
  init(_ endpoint: WireEndpoint, connections: Int) {
    self.endpoint = endpoint
    limit = connections
    sweep.schedule(afterMilliseconds: 500, every: 500) { [weak self] in
      guard let self else { return }
      let now = EventLoop.shared.now
      for connection in all { connection.giveUp(ifDueBy: now) }
    }
  }

  func send(
    _ request: BuyerRequest, timeoutMilliseconds: Int, _ done: @escaping @LoopActor (BuyerResponse) -> Void
  ) {
    let connection: WireConnection
    if let waiting = idle.popLast() {
      connection = waiting
    } else {
      precondition(all.count < limit, "more requests at a time than connections")
      connection = WireConnection(endpoint)
      all.append(connection)
    }
    connection.send(
      endpoint.bytes(of: request), deadline: EventLoop.shared.now + UInt64(timeoutMilliseconds)
    ) { [weak self, unowned connection] response in
      self?.idle.append(connection)
      done(response)
    }
  }

  func close() {
    sweep.cancel()
    for connection in all { connection.close() }
  }
}
