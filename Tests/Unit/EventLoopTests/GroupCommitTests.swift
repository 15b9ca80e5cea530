import Testing

@testable import EventLoop

@LoopActor
@Suite("Group commit", .timeLimit(.minutes(1)))
struct GroupCommitTests {
  /// What `perform` was given.
  final class Seen {
    var batches: [[Int]] = []
    var underWay = 0
  }

  private func commit(
    _ seen: Seen, maximum: Int, capacity: Int = 100, linger: UInt64 = 0
  ) -> GroupCommit<Int, Int> {
    GroupCommit(maximumBatch: maximum, capacity: capacity, lingerMilliseconds: linger) { batch in
      seen.underWay += 1
      #expect(seen.underWay == 1)
      seen.batches.append(batch)
      try? await sleep(milliseconds: 1)
      seen.underWay -= 1
      return batch.map { .success($0 * 10) }
    }
  }

  @Test("What comes together shares a batch, in order, and each gets its own answer")
  func batches() async throws {
    let seen = Seen()
    let commit = commit(seen, maximum: 4)
    let tasks = (1...10).map { number in Task { @LoopActor in try await commit.submit(number) } }
    for (index, task) in tasks.enumerated() { #expect(try await task.value == (index + 1) * 10) }
    #expect(seen.batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]])
    #expect(commit.isIdle)
  }

  @Test("A batch lingers until it is full, or somebody is in a hurry")
  func lingering() async throws {
    let seen = Seen()
    // Longer than this test may take.
    let commit = commit(seen, maximum: 4, linger: 600_000)
    var tasks: [Task<Int, any Error>] = []
    func submit(_ numbers: ClosedRange<Int>) {
      for number in numbers { tasks.append(Task { @LoopActor in try await commit.submit(number) }) }
    }
    for number in 1...3 {
      submit(number...number)
      try await sleep(milliseconds: 1)
    }
    #expect(seen.batches.isEmpty)
    #expect(!commit.isIdle)
    submit(4...8)
    for task in tasks { _ = try await task.value }
    #expect(seen.batches == [[1, 2, 3, 4], [5, 6, 7, 8]])
    submit(9...9)
    while seen.batches.count < 3 {
      commit.hurry()
      try await sleep(milliseconds: 1)
    }
    #expect(try await tasks[8].value == 90)
  }

  @Test("Past its capacity an item is refused, and nothing is done with it")
  func capacity() async throws {
    let seen = Seen()
    let commit = commit(seen, maximum: 4, capacity: 2)
    let tasks = (1...3).map { number in Task { @LoopActor in try await commit.submit(number) } }
    #expect(try await tasks[0].value == 10)
    #expect(try await tasks[1].value == 20)
    await #expect(throws: GroupCommitFull.self) { try await tasks[2].value }
    #expect(seen.batches == [[1, 2]])
  }
}
