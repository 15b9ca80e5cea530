package import EventLoop

/// Keeps values for a moment, asks for each only once at a time, and serves what it has when that fails.
///
/// While the source fails, or takes longer than `patienceMilliseconds`, the old value is served and the
/// source is asked again at most once in `freshMilliseconds`. Bounded by `capacity` keys.
@LoopActor
package final class FreshCache<Key: Hashable & Sendable, Value: Sendable> {
  package struct Answer: Sendable {
    package let value: Value
    /// How old the value is.
    package let ageMilliseconds: UInt64
  }

  private struct Entry {
    let value: Value
    let loadedAt: UInt64
  }

  /// One question to the source, and who waits for it.
  @LoopActor
  private final class Flight {
    let startedAt: UInt64
    var waiting: [UnsafeContinuation<Result<Answer, any Error>, Never>] = []
    let timer = LoopTimer()
    init(startedAt: UInt64) { self.startedAt = startedAt }
  }

  private struct Failure {
    let error: any Error
    let at: UInt64
  }

  private let freshMilliseconds: UInt64
  private let patienceMilliseconds: UInt64
  private let capacity: Int
  private let load: @LoopActor (Key, Value?) async throws -> Value?
  private var entries: [Key: Entry] = [:]
  private var flights: [Key: Flight] = [:]
  private var failures: [Key: Failure] = [:]

  /// - Parameter load: gets the key and the value that is known so far; `nil` when there is none, which is
  ///   not kept.
  package init(
    freshMilliseconds: UInt64 = 1_000, patienceMilliseconds: UInt64 = 1_000, capacity: Int,
    load: @escaping @LoopActor (Key, Value?) async throws -> Value?
  ) {
    self.freshMilliseconds = freshMilliseconds
    self.patienceMilliseconds = patienceMilliseconds
    self.capacity = capacity
    self.load = load
  }

  /// The value, if it can be served without waiting.
  package func immediate(_ key: Key) -> Answer? {
    guard let entry = entries[key] else { return nil }
    let age = EventLoop.shared.now - entry.loadedAt
    return age < freshMilliseconds ? Answer(value: entry.value, ageMilliseconds: age) : nil
  }

  /// - Returns: `nil` when the source says that there is nothing.
  package func answer(_ key: Key) async throws -> Answer? {
    if let answer = immediate(key) { return answer }
    if let failure = failures[key], EventLoop.shared.now - failure.at < freshMilliseconds {
      if let old = old(key) { return old }
      throw failure.error
    }
    let flight = flights[key] ?? start(key)
    // The source takes its time already: no use in waiting for it too.
    if EventLoop.shared.now - flight.startedAt >= patienceMilliseconds, let old = old(key) { return old }
    do {
      return try await withUnsafeContinuation { flight.waiting.append($0) }.get()
    } catch is Nothing {
      return nil
    }
  }

  private struct Nothing: Error {}

  private func old(_ key: Key) -> Answer? {
    entries[key].map { Answer(value: $0.value, ageMilliseconds: EventLoop.shared.now - $0.loadedAt) }
  }

  private func start(_ key: Key) -> Flight {
    let flight = Flight(startedAt: EventLoop.shared.now)
    flights[key] = flight
    if entries[key] != nil {
      flight.timer.schedule(afterMilliseconds: patienceMilliseconds) { [weak self, weak flight] in
        guard let self, let flight, let old = old(key) else { return }
        Self.answer(flight, .success(old))
      }
    }
    // Owned by this object: one for each key at a time, and the source's own timeouts end it.
    Task { @LoopActor in
      let result: Result<Answer, any Error>
      do {
        if let value = try await load(key, entries[key]?.value) {
          makeRoom()
          entries[key] = Entry(value: value, loadedAt: EventLoop.shared.now)
          result = .success(Answer(value: value, ageMilliseconds: 0))
        } else {
          entries[key] = nil
          result = .failure(Nothing())
        }
        failures[key] = nil
      } catch {
        if failures.count >= capacity { failures.removeAll() }
        failures[key] = Failure(error: error, at: EventLoop.shared.now)
        result = old(key).map { .success($0) } ?? .failure(error)
      }
      flights[key] = nil
      flight.timer.cancel()
      Self.answer(flight, result)
    }
    return flight
  }

  private static func answer(_ flight: Flight, _ result: Result<Answer, any Error>) {
    let waiting = flight.waiting
    flight.waiting = []
    for continuation in waiting { continuation.resume(returning: result) }
  }

  /// Forgets the older half when it is full: rare, and simple.
  private func makeRoom() {
    guard entries.count >= capacity else { return }
    let kept = entries.sorted { $0.value.loadedAt > $1.value.loadedAt }.prefix(capacity / 2)
    entries = Dictionary(uniqueKeysWithValues: kept.map { ($0.key, $0.value) })
  }
}
