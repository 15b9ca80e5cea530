/// Too many items wait for a group already; nothing was done with this one.
package struct GroupCommitFull: Error {
  package init() {}
}

/// Turns many small calls into few large ones, without waiting for a timer: while a batch is under way the
/// next one fills, so its size follows the load by itself.
///
/// Callers' items keep their order of submission within and between batches; with more than one batch at a
/// time there is no order between batches. Bounded: past `capacity` waiting items `submit` throws `Full`.
@LoopActor
package final class GroupCommit<Item, Output: Sendable> {
  package typealias Full = GroupCommitFull

  private let maximumBatch: Int
  private let concurrency: Int
  private let capacity: Int
  private let perform: @LoopActor ([Item]) async -> [Result<Output, any Error>]
  private var waiting: [(item: Item, continuation: UnsafeContinuation<Result<Output, any Error>, Never>)] = []
  private var underWay = 0
  /// Whether a batch is about to start at the end of the current turn of the loop.
  private var isScheduled = false

  /// - Parameter perform: answers every item, in order.
  package init(
    maximumBatch: Int, concurrency: Int = 1, capacity: Int,
    perform: @escaping @LoopActor ([Item]) async -> [Result<Output, any Error>]
  ) {
    self.maximumBatch = maximumBatch
    self.concurrency = concurrency
    self.capacity = capacity
    self.perform = perform
  }

  /// Whether nothing waits and nothing is under way.
  package var isIdle: Bool { waiting.isEmpty && underWay == 0 }

  /// Hands `item` to a batch and returns its own result.
  package func submit(_ item: sending Item) async throws -> Output {
    guard waiting.count < capacity else { throw Full() }
    return try await withUnsafeContinuation { continuation in
      waiting.append((item, continuation))
      startLater()
    }.get()
  }

  /// Starts at the end of this turn, so that everything one turn of the loop submits shares a batch.
  private func startLater() {
    guard !isScheduled, underWay < concurrency, !waiting.isEmpty else { return }
    isScheduled = true
    // Owned by this object: `underWay` bounds how many there are, and each ends with its batch.
    Task { @LoopActor in
      isScheduled = false
      await runBatch()
    }
  }

  private func runBatch() async {
    guard underWay < concurrency, !waiting.isEmpty else { return }
    let batch = Array(waiting.prefix(maximumBatch))
    waiting.removeFirst(batch.count)
    underWay += 1
    startLater()
    let results = await perform(batch.map(\.item))
    precondition(results.count == batch.count, "a batch answers every item")
    underWay -= 1
    for (entry, result) in zip(batch, results) { entry.continuation.resume(returning: result) }
    startLater()
  }
}
