import EventLoop

/// One `send`, from its start to its result.
@LoopActor
final class Call {
  let ticket: UInt64
  let request: HTTPClientRequest
  let origin: String
  /// Loop time in milliseconds at which it has taken too long.
  let deadline: UInt64
  private let continuation: UnsafeContinuation<Result<HTTPClientResponse, any Error>, Never>
  /// The handle that works for it; `nil` while it waits for a connection.
  var transfer: Transfer?
  /// Ends the wait for a connection.
  var timer: LoopTimer?

  init(
    ticket: UInt64, request: HTTPClientRequest, origin: String, deadline: UInt64,
    continuation: UnsafeContinuation<Result<HTTPClientResponse, any Error>, Never>
  ) {
    self.ticket = ticket
    self.request = request
    self.origin = origin
    self.deadline = deadline
    self.continuation = continuation
  }

  func finish(_ result: sending Result<HTTPClientResponse, any Error>) {
    timer = nil
    transfer = nil
    continuation.resume(returning: result)
  }
}

/// What goes to one scheme, host and port.
struct Origin {
  var underWay = 0
  /// Calls that wait for a connection, oldest first; those that ended meanwhile are passed over.
  var waiting: [UInt64] = []
  var firstWaiting = 0

  mutating func next() -> UInt64? {
    guard firstWaiting < waiting.count else { return nil }
    defer {
      firstWaiting += 1
      if firstWaiting == waiting.count || firstWaiting > 1024 {
        waiting.removeFirst(firstWaiting)
        firstWaiting = 0
      }
    }
    return waiting[firstWaiting]
  }
}
