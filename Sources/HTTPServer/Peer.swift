import EventLoop

/// One client's connection.
@LoopActor
final class Peer {
  enum Phase {
    /// Waits for a request, or receives its headers.
    case idle
    case receivingBody
    /// A handler is at work; there is no deadline.
    case handling
    case sending
    /// Was told to close; libmicrohttpd has yet to notice.
    case shut
  }

  let descriptor: Int32
  /// Loop time in milliseconds.
  let openedAt: UInt64
  /// Whether a request has come from it.
  var hasAsked = false
  private(set) var phase = Phase.idle
  /// Loop time in milliseconds at which the phase has lasted too long.
  private(set) var deadline: UInt64
  /// Where the server's list has it.
  var index = 0
  /// Its neighbours in `IdlePeers` while it is idle.
  unowned var idleBefore: Peer?
  unowned var idleAfter: Peer?
  var exchange = Exchange()

  init(descriptor: Int32, openedAt: UInt64, deadline: UInt64) {
    self.descriptor = descriptor
    self.openedAt = openedAt
    self.deadline = deadline
  }

  /// For the server, which also knows the idle ones by their order.
  func enter(_ phase: Phase, deadline: UInt64) {
    self.phase = phase
    self.deadline = deadline
  }
}
