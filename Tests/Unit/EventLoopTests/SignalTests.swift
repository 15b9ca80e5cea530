import EventLoop
import Foundation
import Testing

@Suite("Signals")
struct SignalTests {
  @Test("Writing to a peer that is gone is an error, and not the end of the process")
  @LoopActor
  func brokenPipe() {
    var ends: [Int32] = [-1, -1]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    close(ends[1])
    #expect(write(ends[0], "x", 1) == -1)
    #expect(errno == EPIPE)
    close(ends[0])
  }
}
