import Foundation
import Testing

@testable import Logging

@Suite("The log", .serialized)
struct LoggingTests {
  /// A pipe in the place of standard error while `body` runs, which must not wait for anything.
  private func withPipe(_ body: (_ reader: Int32, _ writer: Int32) -> Void) {
    var ends: [Int32] = [-1, -1]
    #expect(pipe(&ends) == 0)
    let standardError = dup(2)
    dup2(ends[1], 2)
    body(ends[0], ends[1])
    dup2(standardError, 2)
    for descriptor in ends + [standardError] { close(descriptor) }
  }

  private func setBlocking(_ blocks: Bool, _ descriptor: Int32) {
    let flags = fcntl(descriptor, F_GETFL)
    _ = fcntl(descriptor, F_SETFL, blocks ? flags & ~O_NONBLOCK : flags | O_NONBLOCK)
  }

  /// All that can be read without waiting.
  private func drain(_ reader: Int32) -> String {
    setBlocking(false, reader)
    var all: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 65_536)
    while case let count = read(reader, &piece, piece.count), count > 0 { all += piece[..<count] }
    return String(decoding: all, as: UTF8.self)
  }

  @Test("A reader that has stopped holds nobody up; what it missed is counted once it reads again")
  func stoppedReader() {
    var text = ""
    withPipe { reader, writer in
      setBlocking(false, writer)
      let filler = [UInt8](repeating: 0x20, count: 4096)
      while write(writer, filler, filler.count) > 0 {}
      setBlocking(true, writer)
      for _ in 0..<3 { Logger(label: "test").error("nobody reads this") }
      _ = drain(reader)
      Logger(label: "test").error("somebody reads this")
      text = drain(reader)
    }
    #expect(!text.contains("nobody reads this"))
    #expect(text.contains(#/log\.dropped\W+3/#))
    #expect(text.contains("somebody reads this"))
  }

  @Test("A long value is left whole where the line allows it, and a line never has more than 4,096 bytes")
  func longLines() {
    var texts: [String] = []
    withPipe { reader, _ in
      for size in [3_000, 100_000] {
        Logger(label: "test").error(
          "long", ["value": String(repeating: "\u{1}é", count: size / 3), "n": size])
        texts.append(drain(reader))
      }
      Logger(label: "test").error("long", ["value": String(repeating: "a", count: 3_000)])
      texts.append(drain(reader))
    }
    for text in texts {
      #expect(text.utf8.count <= 4096)
      #expect(text.hasSuffix("\n"))
    }
    #expect(texts[1].contains("…"))
    #expect(texts[2].contains(String(repeating: "a", count: 3_000)))
  }

  @Test("What fails again and again is logged at once, then ever more rarely with a count, and its end once")
  func repetition() {
    var repetition = Repetition()
    let second: UInt64 = 1_000_000_000
    var counts: [Int] = []
    // Ten times a second, for an hour.
    for tick in 0..<36_000 {
      if let count = repetition.failed(now: 5 * second + UInt64(tick) * second / 10) { counts.append(count) }
    }
    #expect(counts[0] == 1)
    #expect(counts.count <= 20)
    #expect(counts.prefix(4) == [1, 20, 40, 80])
    let end = repetition.succeeded(now: 3_605 * second)
    #expect(end?.failures == 36_000)
    #expect(end?.milliseconds == 3_600_000)
    #expect(repetition.succeeded(now: 3_606 * second) == nil)
    #expect(repetition.failed(now: 3_607 * second) == nil, "it was no end")
    #expect(repetition.failed(now: 4_000 * second) == 1, "long after that it is another one")
  }

  @Test("What fails and works in turn is bounded, too")
  func flapping() {
    var repetition = Repetition()
    var lines = 0
    for tick in 0..<7_200 {
      let now = (UInt64(tick) + 1) * 500_000_000
      if repetition.failed(now: now) != nil { lines += 1 }
      if repetition.succeeded(now: now + 1_000) != nil { lines += 1 }
    }
    #expect(lines <= 40)
  }

  @Test("Loops that meet the same outage share its lines")
  func shared() {
    var text = ""
    // Other suites of the process may have asked for less.
    Logger.configure(level: .info)
    withPipe { reader, _ in
      for number in 0..<100 { Logger(label: "test").retrying("nobody is there", ["number": number]) }
      Logger(label: "test").worksAgain("something else")
      for _ in 0..<100 { Logger(label: "test").worksAgain("nobody is there") }
      text = drain(reader)
    }
    #expect(text.split(separator: "\n").count == 2)
    #expect(text.contains(#/log\.failures\W+100/#))
  }

  @Test("A limit lets so many lines a second through, and tells how many each stands for")
  func limit() {
    let limit = LogLimit(perSecond: 2)
    let second: UInt64 = 1_000_000_000
    #expect((0..<5).map { limit.next(now: 7 * second + $0) } == [1, 1, nil, nil, nil])
    #expect((0..<3).map { limit.next(now: 8 * second + $0) } == [4, 1, nil])
    #expect(limit.next(now: 60 * second) == 2)
  }
}
