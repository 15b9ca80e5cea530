import EventLoop
import Foundation

/// One kept connection with at most one request under way.
@LoopActor
final class WireConnection {
  /// What each read is made into, before it is appended to what came before. One connection reads at a time.
  private static var scratch = [UInt8](repeating: 0, count: 64 << 10)
  private static let largestResponse = 8 << 20

  private let endpoint: WireEndpoint
  private var descriptor: Int32 = -1
  private var watcher: DescriptorWatcher?
  private var output: [UInt8] = []
  private var written = 0
  private var input: [UInt8] = []
  private var reader = WireResponseReader()
  private var done: (@LoopActor (BuyerResponse) -> Void)?
  private var deadline: UInt64 = 0

  init(_ endpoint: WireEndpoint) { self.endpoint = endpoint }

  func send(_ bytes: [UInt8], deadline: UInt64, _ done: @escaping @LoopActor (BuyerResponse) -> Void) {
    precondition(self.done == nil, "one request at a time")
    self.done = done
    self.deadline = deadline
    output = bytes
    written = 0
    input.removeAll(keepingCapacity: true)
    reader = WireResponseReader()
    if descriptor < 0, !connect() { return fail("connect_failed") }
    flush()
  }

  func giveUp(ifDueBy now: UInt64) {
    if done != nil, now >= deadline { fail("timeout") }
  }

  func close() {
    watcher?.close()
    watcher = nil
    if descriptor >= 0 { _ = Foundation.close(descriptor) }
    descriptor = -1
  }

  private func connect() -> Bool {
    descriptor = socket(
      endpoint.family,
      Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return false }
    var one: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    let status = endpoint.address.withUnsafeBytes { bytes in
      bytes.withMemoryRebound(to: sockaddr.self) {
        Foundation.connect(descriptor, $0.baseAddress, socklen_t(bytes.count))
      }
    }
    guard status == 0 || errno == EINPROGRESS else { return false }
    watcher = DescriptorWatcher(descriptor: descriptor) { [weak self] events in self?.ready(events) }
    watcher?.watch([.readable])
    return true
  }

  private func ready(_ events: DescriptorWatcher.Events) {
    if events.contains(.writable), written < output.count { flush() }
    if events.contains(.readable), descriptor >= 0 { read() }
  }

  private func flush() {
    while written < output.count {
      let count = output.withUnsafeBytes { bytes in
        Foundation.send(descriptor, bytes.baseAddress! + written, bytes.count - written, Int32(MSG_NOSIGNAL))
      }
      if count > 0 {
        written += count
      } else if errno == EAGAIN || errno == EINPROGRESS || errno == ENOTCONN {
        watcher?.watch([.readable, .writable])
        return
      } else if errno != EINTR {
        return fail(written == 0 ? "connect_failed" : "connection_lost")
      }
    }
    watcher?.watch([.readable])
  }

  private func read() {
    while true {
      let count = Self.scratch.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
      let reason = errno
      if count > 0 {
        input += Self.scratch[..<count]
        if input.count > Self.largestResponse { return fail("too_large") }
        if take() || count < Self.scratch.count { return }
      } else if count == 0 {
        return fail("connection_lost")
      } else if reason == EAGAIN {
        return
      } else if reason != EINTR {
        return fail(reason == ECONNREFUSED ? "connect_failed" : "connection_lost")
      }
    }
  }

  /// Hands over the response if it is whole. False while more must come.
  private func take() -> Bool {
    switch reader.look(at: input) {
    case .incomplete: return false
    case .malformed:
      fail("bad_response")
    case .whole(let status, let retryAfter, let body, let closes):
      let bytes = Array(input[body])
      if closes { close() }
      finish(.answer(status: status, retryAfterSeconds: retryAfter, body: bytes))
    }
    return true
  }

  private func fail(_ code: String) {
    close()
    finish(.failure(code: code))
  }

  private func finish(_ response: BuyerResponse) {
    // Nobody waits when the server closes an idle connection.
    guard let done else { return }
    self.done = nil
    done(response)
  }
}
