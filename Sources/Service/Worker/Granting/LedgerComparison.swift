import Archive
import EventLoop
import FaultInjection
import Ledger
import Queue
import Sale
import StoreCommon

/// Puts the records of a queue right that Redis came back with: PostgreSQL knows what was bought, is being paid or was
/// declined, and that is never taken back.
///
/// In pages, while buyers join and are answered. A record that changed meanwhile is looked at once more. So is what is
/// noted of ends without a purchase, where Redis is another one than before.
@LoopActor
struct LedgerComparison {
  private static let pageSize = 500
  private static let tries = 3

  let queue: QueueStore
  let purchases: PurchaseStore
  let seats: SeatStore
  /// For how long whoever is asked again has the tickets.
  let lapsedSeconds: Int

  /// - Parameter hasForgotten: whether Redis may have lost anything since it was last compared.
  /// - Returns: how many records were put right.
  func run(event: Int, generation: Int, hasForgotten: Bool) async throws -> Int {
    var mended = 0
    var last = 0
    while true {
      try Task.checkCancellation()
      let page = try await Faults.point(.reserveCompare) {
        try await purchases.purchases(
          event: event, generation: generation, after: last, limit: Self.pageSize)
      }
      let records = try await Faults.point(.reserveCompare) {
        try await queue.inspection.records(event: event, positions: page.map(\.position))
      }
      for (purchase, record) in zip(page, records) {
        if try await mend(event, generation, purchase, record) { mended += 1 }
      }
      guard page.count == Self.pageSize, let end = page.last?.position else { break }
      last = end
    }
    mended += try await endForgottenHolds(event: event, generation: generation)
    if hasForgotten { mended += try await endAgain(event: event, generation: generation) }
    return mended
  }

  /// Ends those who had ended, as it is noted, and whom Redis has back in line or with a hold.
  private func endAgain(event: Int, generation: Int) async throws -> Int {
    let noted = try await Faults.point(.reserveCompare) {
      try await seats.ends(event: event, generation: generation)
    }
    var ended = 0
    for (state, positions) in noted {
      guard let end = QueueRepairs.Repair(rawValue: String(state.rawValue)) else { continue }
      for piece in positions.pieceNumbers {
        try Task.checkCancellation()
        ended += try await endAgain(event, generation, positions.positions(ofPiece: piece), as: end)
      }
    }
    return ended
  }

  private func endAgain(
    _ event: Int, _ generation: Int, _ positions: [Int], as end: QueueRepairs.Repair
  ) async throws -> Int {
    let records = try await Faults.point(.reserveCompare) {
      try await queue.inspection.records(event: event, positions: positions)
    }
    let inLine = zip(positions, records).filter { $1 == nil || $1?.state == .standby }
    let entries = try await Faults.point(.reserveCompare) {
      try await queue.waiting.entries(event: event, waitingAt: inLine.map(\.0))
    }
    var ended = 0
    for (position, record) in inLine {
      guard let entry = entries[position] else { continue }
      let isDone = try await Faults.point(.reserveCompare) {
        try await queue.repairs.repair(
          event: event, position: position, expected: record?.state, to: end, attempt: 0, amount: 0,
          tickets: [], free: [], reason: "", user: entry.user,
          wish: entry.line == Arrival.alone ? nil : WishPlace(line: entry.line, ordinal: entry.ordinal))
      }
      if isDone { ended += 1 }
    }
    let holds = zip(positions, records).compactMap { position, record in
      record.flatMap { $0.state == .reserved || $0.state == .declined ? (position, $0) : nil }
    }
    return try await ended + endHolds(event, generation, holds, as: end)
  }

  /// Ends holds. Those of their seats that nobody else has bought, or is paying for, are free.
  private func endHolds(
    _ event: Int, _ generation: Int, _ holds: [(position: Int, record: RequestRecord)],
    as end: QueueRepairs.Repair, ifTaken: Bool = false
  ) async throws -> Int {
    if holds.isEmpty { return 0 }
    let owners = try await Faults.point(.reserveCompare) {
      try await purchases.claims(event: event, tickets: holds.flatMap(\.record.tickets))
    }
    var ended = 0
    for (position, record) in holds {
      let key = PurchaseKey(event: event, generation: generation, position: position)
      let free = record.tickets.filter { owners[$0] == nil || owners[$0] == key }
      if ifTaken, free.count == record.tickets.count { continue }
      let isDone = try await Faults.point(.reserveCompare) {
        try await queue.repairs.repair(
          event: event, position: position, expected: record.state, to: end, attempt: record.attempt,
          amount: record.amount, tickets: record.tickets, free: free, reason: record.reason, user: "")
      }
      if isDone { ended += 1 }
    }
    return ended
  }

  /// Ends holds of seats that somebody else has bought since, or is paying for: they had ended, and Redis has forgotten
  /// that. Their end in their time would call those seats free.
  private func endForgottenHolds(event: Int, generation: Int) async throws -> Int {
    var ended = 0, rank = 0
    while true {
      try Task.checkCancellation()
      let page = try await Faults.point(.reserveCompare) {
        try await queue.inspection.holds(event: event, ranks: rank..<rank + Self.pageSize).map(\.position)
      }
      let records = try await Faults.point(.reserveCompare) {
        try await queue.inspection.records(event: event, positions: page)
      }
      let holds = zip(page, records).compactMap { position, record in
        record.flatMap { $0.state == .reserved || $0.state == .declined ? (position, $0) : nil }
      }
      let over = try await endHolds(event, generation, holds, as: .expired, ifTaken: true)
      ended += over
      // They are not in the list any more.
      rank += page.count - over
      if page.count < Self.pageSize { return ended }
    }
  }

  private func mend(
    _ event: Int, _ generation: Int, _ purchase: PurchaseStore.Frozen, _ seen: RequestRecord?
  ) async throws -> Bool {
    var record = seen
    for _ in 0..<Self.tries {
      guard let repair = Self.repair(purchase, record) else { return false }
      let (outcome, expected) = (repair, record?.state)
      let isDone: Bool
      if let record, record.state == .purchased, outcome == .declined || outcome == .expired {
        isDone = try await takeBack(event, generation, purchase, record, asks: outcome == .declined)
      } else {
        isDone = try await Faults.point(.reserveCompare) {
          try await queue.repairs.repair(
            event: event, position: purchase.position, expected: expected, to: outcome,
            attempt: purchase.attempt, amount: purchase.amount, tickets: purchase.tickets, free: [],
            reason: outcome == .confirming ? purchase.method : purchase.reason, user: purchase.user,
            wish: purchase.wish)
        }
      }
      if isDone { return true }
      record = try await Faults.point(.reserveCompare) {
        try await queue.reader.record(event: event, position: purchase.position)
      }
    }
    return false
  }

  /// A sale was taken back, since its money could not be taken, and Redis tells its buyer still that the tickets are
  /// theirs. As the outbox worker does it: they are asked again, or told that it came to nothing.
  private func takeBack(
    _ event: Int, _ generation: Int, _ purchase: PurchaseStore.Frozen, _ record: RequestRecord, asks: Bool
  ) async throws -> Bool {
    if asks {
      let isAsked = try await Faults.point(.reserveCompare) {
        try await queue.confirmations.askAgain(
          event: event, generation: generation, position: purchase.position, attempt: record.attempt,
          tickets: purchase.tickets, reason: PurchaseStore.authorisationLapsed, holdSeconds: lapsedSeconds)
      }
      if isAsked { return true }
    }
    let owners = try await Faults.point(.reserveCompare) {
      try await purchases.claims(event: event, tickets: record.tickets)
    }
    return try await Faults.point(.reserveCompare) {
      try await queue.repairs.repair(
        event: event, position: purchase.position, expected: .purchased, to: .expired,
        attempt: record.attempt, amount: record.amount, tickets: record.tickets,
        free: record.tickets.filter { owners[$0] == nil }, reason: PurchaseStore.authorisationLapsed, user: ""
      )
    }
  }

  /// What the record must become; `nil` where it is right, or later than the purchase.
  static func repair(_ purchase: PurchaseStore.Frozen, _ record: RequestRecord?) -> QueueRepairs.Repair? {
    // Given out twice, and somebody else came to pay first: told elsewhere.
    if let record, record.userKey != UserKey(purchase.user).text { return nil }
    // Told of a sale that was taken back since.
    let isLapsed =
      purchase.hasLapsed && record?.state == .purchased && (record?.attempt ?? .max) <= purchase.attempt
    switch purchase.state {
    case .sold:
      let isRight = record?.state == .purchased && record?.tickets.sorted() == purchase.tickets.sorted()
      return isRight ? nil : .purchased
    case .paying:
      let isRight =
        record?.state == .confirming && record?.attempt == purchase.attempt
        && record?.tickets.sorted() == purchase.tickets.sorted()
      // Paid with another card since: its own purchase row comes to it. Or told that it is bought, and PostgreSQL has lost
      // the end of it: the payment is taken up again, and what was told stays.
      let isLater =
        record.map {
          $0.attempt > purchase.attempt || $0.state == .purchased && $0.attempt == purchase.attempt
        } ?? false
      return isRight || isLater ? nil : .confirming
    case .declined:
      if isLapsed { return .declined }
      guard let record, record.tickets.sorted() == purchase.tickets.sorted() else { return nil }
      let isBefore =
        record.state == .reserved && record.attempt < purchase.attempt
        || record.state == .confirming && record.attempt == purchase.attempt
      return isBefore ? .declined : nil
    case .void:
      if isLapsed { return .expired }
      let isBefore = record?.state == .confirming && record?.attempt == purchase.attempt
      return isBefore ? .expired : nil
    }
  }
}
