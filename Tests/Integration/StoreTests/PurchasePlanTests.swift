import EventLoop
import Postgres
import Sale
import TestDatabases
import Testing

@testable import Ledger

@LoopActor
@Suite("Plans of purchases in PostgreSQL", .timeLimit(.minutes(3)))
struct PurchasePlanTests {
  private static let tickets = 6_000
  private static let group = 200

  /// In a database of its own: the statistics are the server's for all who use one.
  @Test(
    "A first sale reads a few rows for each purchase, though it began when the tables were empty, whoever listens",
    arguments: [false, true])
  func firstSale(isHeard: Bool) async throws {
    let url = try await TestDatabase.make()
    let observer = try await TestDatabase.connect(url, connections: 1)
    defer { observer.close() }
    _ = try await Migrations(observer, searchSchema: "", logger: DatabaseFixture.logger).run()
    let client = try await TestDatabase.connect(url, connections: 1) { PurchaseStore.configure(&$0) }
    defer { client.close() }
    let store = PurchaseStore(client)

    let event = try await DatabaseFixture.makeEvent(tickets: Self.tickets, in: observer)
    if isHeard {
      _ = try await WebhookStore(observer).add(
        url: "https://shop.example/", types: [], events: [], owner: nil, secret: "whsec_", by: "test")
    }
    // A planner that takes a table for one row would walk all of its index.
    try await buy(1...1, of: event, store)
    _ = try await observer.query("ANALYZE")
    let before = try await rowsRead(client, observer)
    for first in stride(from: 2, to: Self.tickets, by: Self.group) {
      try await buy(first...min(first + Self.group - 1, Self.tickets), of: event, store)
    }
    let each = (try await rowsRead(client, observer) - before) / Self.tickets
    // Some twenty look-ups, and what a plan of the first second reads in vain.
    #expect(each < 200, "\(each) rows a purchase")
  }

  private func buy(_ positions: ClosedRange<Int>, of event: Int, _ store: PurchaseStore) async throws {
    let confirmations = positions.map { position in
      Sale.Confirmation(
        entryID: nil, event: event, generation: 1, position: position, attempt: 1, tickets: [position],
        amount: 100, method: "pm_card_visa", user: "user \(position)")
    }
    _ = try await store.claim(confirmations)
    let results = try await store.settle(
      confirmations.map {
        PurchaseStore.Settlement(
          key: .init($0), attempt: 1, outcome: .sold, paymentID: "pi_\($0.position)", reason: "")
      })
    #expect(results.allSatisfy { $0?.state == .sold })
    try await store.done(
      confirmations.map {
        OutboxEntry(key: .init($0), kind: .capture, paymentID: "pi_\($0.position)")
      })
  }

  /// By the store's session, once it has said what it has counted.
  private func rowsRead(_ client: PostgresClient, _ observer: PostgresClient) async throws -> Int {
    _ = try await client.query("SELECT pg_stat_force_next_flush()")
    return try await observer.query(
      """
      SELECT ((SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes)
        + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables))::bigint AS rows
      """)[0].int("rows")
  }
}
