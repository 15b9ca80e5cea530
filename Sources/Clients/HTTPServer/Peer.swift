import CHTTPParser
import EventLoop
import Foundation

/// One client's connection.
@LoopActor
final class Peer {
  enum Phase {
    /// Nothing of a request has come since the last one.
    case idle
    case receivingHead
    case receivingBody
    /// A handler is at work; there is no deadline.
    case handling
    case sending
    /// Answered before its body had come, the rest of which is read and dropped.
    case draining
    /// Will send nothing more; reads and drops what is under way, so that the client gets to read the last answer, which
    /// a connection closed with unread bytes would take away from it.
    case lingering
    case closed
  }

  let descriptor: Int32
  let address: ClientAddress
  let watcher: DescriptorWatcher
  /// Loop time in milliseconds.
  let openedAt: UInt64
  /// Whether a request has come from it.
  var hasAsked = false
  /// Where it is a proxy's that is believed: all that are.
  let proxies: [AddressRange]?
  var isTrusted: Bool { proxies != nil }
  /// Whether its client has more connections than it may, which is what its request is told.
  var isSurplus = false
  /// Whether it is served a moment later.
  var isDelayed = false
  /// Loop time in milliseconds at which its client last got on with what it sends, or had nothing more to send, and the bytes
  /// that came since.
  var progressAt: UInt64
  var progress = 0
  private(set) var phase = Phase.idle
  /// Loop time in milliseconds at which the phase has lasted too long.
  var deadline: UInt64
  /// Where the server's list has it.
  var index = 0
  /// Its neighbours among those of the server, and of its client, that wait as it does.
  var ofServer = PeerNeighbours()
  var ofClient = PeerNeighbours()
  /// Whose it is, where connections are limited by client.
  var client: Client?
  /// What has come between the pieces of a chunked body; `nil` for another.
  var framing: ChunkFraming?
  var exchange = Exchange()
  var parser = http_parser()
  /// The last byte that was received before what is looked at now.
  var lastByte: UInt8 = 0
  /// Whether the connection ends with the answer that is being sent.
  var closesNext = false
  /// Loop time in milliseconds until which its client may receive an answer at most.
  var sendsUntil: UInt64 = 0
  /// What of an answer the kernel has not taken yet.
  var unsent: Unsent?

  /// What was received and is needed when the loop comes back to this connection: the head of the request under way, or the
  /// part of one that has come, and behind it what came after that request. Everything else is in the server's memory, so
  /// that a connection that waits for nothing has none of its own.
  private(set) var kept = UnsafeMutableBufferPointer<UInt8>(start: nil, count: 0)
  /// Bytes of `kept` that the parser is done with.
  private(set) var keptParsed = 0

  init(
    descriptor: Int32, address: ClientAddress, proxies: [AddressRange]?, openedAt: UInt64, deadline: UInt64,
    onReady: @escaping @LoopActor (Peer, DescriptorWatcher.Events) -> Void
  ) {
    self.descriptor = descriptor
    self.address = address
    self.proxies = proxies
    self.openedAt = openedAt
    progressAt = openedAt
    self.deadline = deadline
    let holder = Holder()
    watcher = DescriptorWatcher(descriptor: descriptor) { [holder] events in
      if let peer = holder.peer { onReady(peer, events) }
    }
    holder.peer = self
  }

  /// The watcher is made before its peer is whole.
  @LoopActor
  private final class Holder {
    unowned var peer: Peer?
  }

  /// For the server, which also knows the waiting ones by their order.
  func enter(_ phase: Phase, deadline: UInt64) {
    self.phase = phase
    self.deadline = deadline
  }

  /// Copies what has to outlive this turn.
  func keep(head: UnsafeMutableBufferPointer<UInt8>, rest: UnsafeMutableBufferPointer<UInt8>) {
    forget()
    let count = head.count + rest.count
    guard count > 0 else { return }
    let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: count)
    UnsafeMutableRawBufferPointer(memory).copyMemory(from: UnsafeRawBufferPointer(head))
    UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(memory)[head.count...])
      .copyMemory(from: UnsafeRawBufferPointer(rest))
    kept = memory
    keptParsed = head.count
  }

  func forget() {
    guard kept.baseAddress != nil else { return }
    kept.deallocate()
    kept = UnsafeMutableBufferPointer(start: nil, count: 0)
    keptParsed = 0
  }

  isolated deinit {
    kept.deallocate()
    if phase != .closed {
      watcher.close()
      Foundation.close(descriptor)
    }
  }
}

/// The part of an answer that has yet to go out.
struct Unsent {
  /// What of the line and headers.
  var head: ArraySlice<UInt8>
  /// Held as it is, however many clients get the same.
  let answer: HTTPResponse
  /// Bytes of the body that have gone out, or that are not to.
  var sent: Int
}
