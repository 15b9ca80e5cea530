/// Carries out what comes from a list of things to do, so many at a time. Who is through makes room for the next: what takes
/// long has one place, and keeps nobody else waiting.
///
/// Bounded by the number of places. What is under way already is not begun once more, as when its lease has ended
/// meanwhile. For one task that takes, waits and ends.
@LoopActor
package final class Places<Name: Hashable & Sendable> {
  /// Once the first is free, the next ones are waited for as long, until a part of all is: who is leased is then leased by
  /// the dozen, where everything is quick.
  private static var lingerMilliseconds: UInt64 { 50 }
  private static var part: Int { 4 }

  private let count: Int
  private var taken: [Name: Task<Void, Never>] = [:]
  private let signal = Signal()

  package init(_ count: Int) {
    precondition(count > 0)
    self.count = count
  }

  package var free: Int { count - taken.count }

  /// Begins something, unless it is under way. Only while a place is free.
  package func take(_ name: Name, _ body: @escaping @LoopActor () async -> Void) {
    if taken[name] != nil { return }
    precondition(free > 0, "whoever takes a place has asked for room")
    // Owned by this object until it has ended, which is after this turn of the loop.
    taken[name] = Task { @LoopActor in
      await body()
      taken[name] = nil
      signal.raise()
    }
  }

  /// Leases things to do, as many as there are places for, and begins each; waits for the first place at most so long.
  /// - Parameter lease: gets how many at most.
  /// - Returns: whether there may be more: as many came, or what takes long has all places.
  package func fill<Item: Sendable>(
    milliseconds: UInt64, named name: (Item) -> Name, from lease: @LoopActor (Int) async throws -> [Item],
    _ body: @escaping @LoopActor (Item) async -> Void
  ) async throws -> Bool {
    let room = await room(milliseconds: milliseconds)
    if room == 0 { return true }
    let due = try await lease(room)
    for item in due { take(name(item)) { await body(item) } }
    return due.count == room
  }

  /// How many places are free: waits for the first of them, at most so long, or until the task is cancelled.
  package func room(milliseconds: UInt64) async -> Int {
    await wait(until: 1, milliseconds)
    if free > 0 { await wait(until: max(1, count / Self.part), min(milliseconds, Self.lingerMilliseconds)) }
    return free
  }

  private func wait(until wanted: Int, _ milliseconds: UInt64) async {
    let end = EventLoop.shared.now + milliseconds
    while free < wanted, !Task.isCancelled, EventLoop.shared.now < end {
      signal.reset()
      await signal.wait(milliseconds: end - EventLoop.shared.now)
    }
  }

  /// Returns when nothing is under way any more, also in a task that is cancelled: nothing is left behind half done.
  package func end() async {
    while let task = taken.values.first { await task.value }
  }
}
