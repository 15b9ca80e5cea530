import EventLoop
import Faults
import Store

/// Puts the records of a queue right that Redis came back with: PostgreSQL knows what was bought, is being paid or was
/// declined, and that is never taken back.
///
/// In pages, while buyers join and are answered. A record that changed meanwhile is looked at once more.
@LoopActor
struct LedgerComparison {
  private static let pageSize = 500
  private static let tries = 3

  let queue: QueueStore
  let purchases: PurchaseStore

  /// - Returns: how many records were put right.
  func run(event: Int, generation: Int) async throws -> Int {
    var mended = 0
    var last = 0
    while true {
      try Task.checkCancellation()
      let page = try await Faults.crossing(.reserveCompare) {
        try await purchases.purchases(
          event: event, generation: generation, after: last, limit: Self.pageSize)
      }
      let records = try await Faults.crossing(.reserveCompare) {
        try await queue.records(event: event, positions: page.map(\.position))
      }
      for (purchase, record) in zip(page, records) {
        if try await mend(event, purchase, record) { mended += 1 }
      }
      guard page.count == Self.pageSize, let end = page.last?.position else { break }
      last = end
    }
    return try await mended + endForgottenHolds(event: event, generation: generation)
  }

  /// Ends holds of seats that somebody else has bought since, or is paying for: they had ended, and Redis has forgotten
  /// that. Their end in their time would call those seats free.
  private func endForgottenHolds(event: Int, generation: Int) async throws -> Int {
    var ended = 0, rank = 0
    while true {
      try Task.checkCancellation()
      let page = try await Faults.crossing(.reserveCompare) {
        try await queue.holds(event: event, ranks: rank..<rank + Self.pageSize).map(\.position)
      }
      let records = try await Faults.crossing(.reserveCompare) {
        try await queue.records(event: event, positions: page)
      }
      let tickets = records.flatMap { $0?.tickets ?? [] }
      let owners = try await Faults.crossing(.reserveCompare) {
        try await purchases.claims(event: event, tickets: tickets)
      }
      rank += page.count
      for (position, record) in zip(page, records) {
        guard let record, record.state == .reserved || record.state == .declined else { continue }
        let key = PurchaseStore.Key(event: event, generation: generation, position: position)
        let free = record.tickets.filter { owners[$0] == nil || owners[$0] == key }
        if free.count == record.tickets.count { continue }
        let isDone = try await Faults.crossing(.reserveCompare) {
          try await queue.repair(
            event: event, position: position, expected: record.state, to: .expired, attempt: record.attempt,
            amount: record.amount, tickets: record.tickets, free: free, reason: record.reason, user: "")
        }
        if isDone {
          ended += 1
          rank -= 1
        }
      }
      if page.count < Self.pageSize { return ended }
    }
  }

  private func mend(
    _ event: Int, _ purchase: PurchaseStore.Frozen, _ seen: RequestRecord?
  ) async throws -> Bool {
    var record = seen
    for _ in 0..<Self.tries {
      guard let repair = Self.repair(purchase, record) else { return false }
      let (outcome, expected) = (repair, record?.state)
      let isDone = try await Faults.crossing(.reserveCompare) {
        try await queue.repair(
          event: event, position: purchase.position, expected: expected, to: outcome,
          attempt: purchase.attempt, amount: purchase.amount, tickets: purchase.tickets, free: [],
          reason: outcome == .confirming ? purchase.method : purchase.reason, user: purchase.user,
          wish: purchase.wish)
      }
      if isDone { return true }
      record = try await Faults.crossing(.reserveCompare) {
        try await queue.record(event: event, position: purchase.position)
      }
    }
    return false
  }

  /// What the record must become; `nil` where it is right, or later than the purchase.
  static func repair(_ purchase: PurchaseStore.Frozen, _ record: RequestRecord?) -> QueueStore.Repair? {
    // Given out twice, and somebody else came to pay first: told elsewhere.
    if let record, record.userKey != UserKey(purchase.user).text { return nil }
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
      guard let record, record.tickets.sorted() == purchase.tickets.sorted() else { return nil }
      let isBefore =
        record.state == .reserved && record.attempt < purchase.attempt
        || record.state == .confirming && record.attempt == purchase.attempt
      return isBefore ? .declined : nil
    case .void:
      let isBefore = record?.state == .confirming && record?.attempt == purchase.attempt
      return isBefore ? .expired : nil
    }
  }
}
