/// Too many items wait for a group already; nothing was done with this one.
package struct GroupCommitFull: Error {
  package init() {}
}

/// Turns many small calls into few large ones: while a batch is under way the next one fills, so its size follows the
/// load by itself, without waiting for a timer unless it is told to.
///
/// Callers' items keep their order of submission within and between batches, of which one is under way at a time.
/// Bounded: past `capacity` waiting items `submit` throws `Full`.
@LoopActor
package final class GroupCommit<Item, Output: Sendable> {
  package typealias Full = GroupCommitFull

  private let maximumBatch: Int
  private let capacity: Int
  private let linger: UInt64
  private let perform: @LoopActor ([Item]) async -> [Result<Output, any Error>]
  private var waiting: [(item: Item, continuation: UnsafeContinuation<Result<Output, any Error>, Never>)] = []
  private var isUnderWay = false
  /// Whether a batch is about to start at the end of the current turn of the loop, or of its linger.
  private var isScheduled = false
  private var lingering: Task<Void, any Error>?

  /// - Parameters:
  ///   - lingerMilliseconds: how long a batch waits for more until it is full, where nobody is in a hurry.
  ///   - perform: answers every item, in order.
  package init(
    maximumBatch: Int, capacity: Int, lingerMilliseconds: UInt64 = 0,
    perform: @escaping @LoopActor ([Item]) async -> [Result<Output, any Error>]
  ) {
    self.maximumBatch = maximumBatch
    self.capacity = capacity
    linger = lingerMilliseconds
    self.perform = perform
  }

  /// Whether nothing waits and nothing is under way.
  package var isIdle: Bool { waiting.isEmpty && !isUnderWay }

  /// Hands `item` to a batch and returns its own result.
  package func submit(_ item: sending Item) async throws -> Output {
    guard waiting.count < capacity else { throw Full() }
    return try await withUnsafeContinuation { continuation in
      waiting.append((item, continuation))
      if waiting.count == maximumBatch { hurry() }
      startLater()
    }.get()
  }

  /// Ends the linger of a batch that waits for more.
  package func hurry() { lingering?.cancel() }

  /// Starts at the end of this turn, so that everything one turn of the loop submits shares a batch.
  private func startLater() {
    guard !isScheduled, !isUnderWay, !waiting.isEmpty else { return }
    isScheduled = true
    // Owned by this object: there is one at a time, which ends with its batch.
    Task { @LoopActor in
      if linger > 0, waiting.count < maximumBatch { await wait() }
      isScheduled = false
      await runBatch()
    }
  }

  /// A task of its own is what can be cancelled: the batch must not be.
  private func wait() async {
    let task = Task { @LoopActor [linger] in try await sleep(milliseconds: linger) }
    lingering = task
    _ = await task.result
    lingering = nil
  }

  private func runBatch() async {
    let batch = Array(waiting.prefix(maximumBatch))
    waiting.removeFirst(batch.count)
    isUnderWay = true
    let results = await perform(batch.map(\.item))
    precondition(results.count == batch.count, "a batch answers every item")
    isUnderWay = false
    for (entry, result) in zip(batch, results) { entry.continuation.resume(returning: result) }
    startLater()
  }
}

extension GroupCommit where Output == Void {
  /// The same, of a call that has no answer of its own for each item: it succeeds, or fails, for all of a batch.
  package convenience init(
    maximumBatch: Int, capacity: Int, lingerMilliseconds: UInt64 = 0,
    performAll: @escaping @LoopActor ([Item]) async throws -> Void
  ) {
    self.init(maximumBatch: maximumBatch, capacity: capacity, lingerMilliseconds: lingerMilliseconds) {
      batch in
      do {
        try await performAll(batch)
        return batch.map { _ in .success(()) }
      } catch {
        return batch.map { _ in .failure(error) }
      }
    }
  }
}
