package import EventLoop
package import Postgres
package import Queue
package import Sale

/// What is lost of each event's line, in memory: known once for each life of it, so that a crowd that comes back asks
/// nobody.
@LoopActor
package final class LostLines {
  /// Before the present one. Places of earlier ones, and of those of them that are restored in this, cost a query each.
  private static let livesKept = 8
  /// Events, and bytes, kept; beyond it those go that were asked for the longest time ago.
  private static let linesKept = 10_000
  private static let bytesKept = 64 << 20
  /// How long it is not looked again whether a line was lost, and what of one is paid that Redis does not know.
  private static let freshMilliseconds: UInt64 = 1_000
  /// And at least so many times as long as the look took.
  private static let pauseOfLook: UInt64 = 10

  private struct Entry {
    /// `nil` where no owner ever began a life of it.
    var line: LostLine?
    var readAt: UInt64
    var lastUse: UInt64
  }

  /// A life whose line is not in Redis, and of which PostgreSQL says nothing yet.
  private struct Silence {
    let generation: Int
    /// Bought, or being paid for.
    let paid: PositionSet
    /// Its sale is over: it is not lost.
    let isArchived: Bool
    let until: UInt64
  }

  private let reader: LostLineReader
  private var entries: [Int: Entry] = [:]
  private var bytes = 0
  private var reading: [Int: Task<Void, any Error>] = [:]
  private var silences: [Int: Silence] = [:]
  private var listening: [Int: Task<Silence, any Error>] = [:]

  package init(_ postgres: PostgresClient) { reader = LostLineReader(postgres) }

  // MARK: Where a lost place stood

  /// Where a place that was lost with its line ended, or that it was lost; from memory alone. `nil` where that is not
  /// known, or PostgreSQL must be asked: the place was paid for.
  /// - Parameter line: the number of the line of its wish, if that is known.
  package func known(_ key: PurchaseKey, owner: String, line number: Int? = nil) -> RequestStatus? {
    guard let line = line(key.event), line.generation > key.generation else { return nil }
    return status(key, owner: owner, number, line)
  }

  /// The same, after a look at PostgreSQL if there is something to be learnt: shared by all who ask at the same time.
  package func status(
    _ key: PurchaseKey, owner: String, line: Int? = nil
  ) async throws -> RequestStatus? {
    try await learn(key)
    return known(key, owner: owner, line: line)
  }

  private func status(
    _ key: PurchaseKey, owner: String, _ number: Int?, _ line: LostLine
  ) -> RequestStatus? {
    switch line.outcome(
      generation: key.generation, position: key.position, owner: owner, line: number)
    {
    case .waiting:
      if line.closedIn == key.generation { return RequestStatus(state: .rejected, reason: "closed") }
      if let since = line.soldOutSince, since <= key.generation { return RequestStatus(state: .soldOut) }
      return .lostPlace
    case .ended(let state): return RequestStatus(ended: state)
    case .soldOut: return RequestStatus(state: .soldOut)
    case .refused(let reason, let left):
      var status = RequestStatus(state: .rejected, reason: reason)
      if left > 0 { status.left = left }
      return status
    case .forfeited: return .lostPlace
    case .paid, nil: return nil
    }
  }

  package enum Return: Sendable, Equatable {
    /// It was in line, or its tickets were held, and counts in this life.
    case counts(generation: Int)
    /// It was paid for: PostgreSQL knows what came of that, and this is the life that it would count in.
    case paid(generation: Int)
    /// It had ended, is of an earlier life, or somebody else has it.
    case countsNot
    /// As far as is known the line was not lost.
    case notLost
  }

  /// Whether whoever had this place may take it up again.
  package func place(
    _ key: PurchaseKey, owner: String, line number: Int? = nil
  ) async throws -> Return {
    if let line = line(key.event), line.generation > key.generation {
      return place(key, owner: owner, number, line)
    }
    try await learn(key)
    guard let line = line(key.event), line.generation > key.generation else { return .notLost }
    return place(key, owner: owner, number, line)
  }

  private func place(_ key: PurchaseKey, owner: String, _ number: Int?, _ line: LostLine) -> Return {
    guard line.isRestored(key.generation) else { return .countsNot }
    return
      switch line.outcome(
        generation: key.generation, position: key.position, owner: owner, line: number)
    {
    case .waiting: .counts(generation: line.generation)
    case .paid: .paid(generation: line.generation)
    case .ended, .soldOut, .refused, .forfeited, nil: .countsNot
    }
  }

  /// Redis has another life of the line than what is known here is about: it is looked up again, though not at once if
  /// it was a moment ago.
  package func doubt(_ event: Int) {
    guard let entry = entries[event], EventLoop.shared.now >= entry.readAt + Self.freshMilliseconds else {
      return
    }
    bytes -= entry.line?.bytes ?? 0
    entries[event] = nil
  }

  private func line(_ event: Int) -> LostLine? {
    guard let line = entries[event]?.line else { return nil }
    entries[event]?.lastUse = EventLoop.shared.now
    return line
  }

  private func learn(_ key: PurchaseKey) async throws {
    if let entry = entries[key.event] {
      if let line = entry.line, line.generation > key.generation { return }
      if EventLoop.shared.now < entry.readAt + Self.freshMilliseconds { return }
    }
    if let task = reading[key.event] { return try await task.value }
    let task = Task { @LoopActor in
      defer { reading[key.event] = nil }
      keep(try await reader.line(event: key.event, lives: Self.livesKept), key.event)
    }
    reading[key.event] = task
    try await task.value
  }

  private func keep(_ line: LostLine?, _ event: Int) {
    let now = EventLoop.shared.now
    bytes += (line?.bytes ?? 0) - (entries[event]?.line?.bytes ?? 0)
    entries[event] = Entry(line: line, readAt: now, lastUse: now)
    guard entries.count > Self.linesKept || bytes > Self.bytesKept else { return }
    // A tenth at once, as sorting is dear.
    for (event, entry) in entries.sorted(by: { $0.value.lastUse < $1.value.lastUse })
    where entries.count > Self.linesKept * 9 / 10 || bytes > Self.bytesKept / 10 * 9 {
      if entries.count == 1 { break }
      bytes -= entry.line?.bytes ?? 0
      entries[event] = nil
    }
  }

  // MARK: A line that is not in Redis

  /// Whether nothing can be said of a place whose line is not in Redis, from memory: no owner has begun a new life of it,
  /// and nothing was paid for it when somebody looked a moment ago.
  package func isUnknown(_ key: PurchaseKey) -> Bool {
    guard let silence = silences[key.event], silence.generation == key.generation, !silence.isArchived,
      EventLoop.shared.now < silence.until, !silence.paid.contains(key.position)
    else { return false }
    if let line = entries[key.event]?.line, line.generation > key.generation { return false }
    return true
  }

  /// The same, after a look at PostgreSQL that is shared by all who ask at the same time, and not repeated at once.
  /// - Parameter isAbsent: whether Redis has no line of the event at all: where its sale is closed, nobody makes a new one,
  ///   and it ends here with what PostgreSQL knows.
  package func isUnknownNow(_ key: PurchaseKey, isAbsent: Bool) async throws -> Bool {
    if isUnknown(key) { return true }
    try await learn(key)
    if let line = line(key.event), line.generation > key.generation { return false }
    if let silence = silences[key.event], silence.generation == key.generation,
      EventLoop.shared.now < silence.until
    {
      return false
    }
    _ = try await listen(key, isAbsent: isAbsent)
    return isUnknown(key)
  }

  private func listen(_ key: PurchaseKey, isAbsent: Bool) async throws -> Silence {
    if let task = listening[key.event] { return try await task.value }
    let task = Task { @LoopActor in
      defer { listening[key.event] = nil }
      let began = EventLoop.shared.now
      var isArchived = try await reader.isArchived(event: key.event, generation: key.generation)
      if !isArchived, isAbsent, try await reader.endIfClosed(event: key.event, generation: key.generation) {
        isArchived = true
        keep(try await reader.line(event: key.event, lives: Self.livesKept), key.event)
      }
      let paid =
        isArchived ? PositionSet() : try await reader.paid(event: key.event, generation: key.generation)
      let now = EventLoop.shared.now
      if silences.count >= Self.linesKept { silences = [:] }
      let silence = Silence(
        generation: key.generation, paid: paid, isArchived: isArchived,
        until: now + max(Self.freshMilliseconds, (now - began) * Self.pauseOfLook))
      silences[key.event] = silence
      return silence
    }
    listening[key.event] = task
    return try await task.value
  }
}

extension RequestStatus {
  /// How a request ended whose record is lost.
  package init(ended state: RequestRecord.State) {
    switch state {
    case .cancelled: self.init(state: .cancelled)
    case .expired: self.init(state: .expired)
    case .declinedForGood: self.init(state: .declined)
    case .soldOut: self.init(state: .soldOut)
    default: self.init(state: .rejected)
    }
  }
}
