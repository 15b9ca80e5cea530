import EventLoop
import Payments
import Postgres
import Sale
import Store
import Testing

@testable import Worker

@Suite("Payments that were given up, and are authorised after all")
@LoopActor
struct LatePaymentTests {
  /// A sale whose provider processes payments for ever, and lets nobody cancel them meanwhile. They are given up soon.
  private func sale(tickets: Int, holdSeconds: Int, late: Int = 3_600) async throws -> Sale {
    let sale = try await Sale(tickets: tickets, holdSeconds: holdSeconds)
    sale.provider.authorised = .processing
    sale.provider.cancelsProcessing = false
    var limits = Worker.ProviderLimits()
    limits.paymentSeconds = 1
    limits.searchMilliseconds = 0
    limits.lateSeconds = late
    try await sale.startWorker(limits)
    return sale
  }

  private func authorise(_ sale: Sale) {
    for id in sale.provider.payments.keys where sale.provider.payments[id]?.status == .processing {
      sale.provider.payments[id]?.status = .requiresCapture
    }
  }

  /// Waits for the end of a hold whose payment was given up.
  private func expire(_ sale: Sale, _ position: Int) async throws {
    try await sale.wait(for: .declined, position)
    try await sale.eventually("the hold is over") {
      try await sale.queue.record(event: sale.event, position: position)?.state == .declinedForGood
    }
  }

  private func waitAndRemind(for state: RequestState, _ sale: Sale, _ position: Int) async throws {
    try await sale.eventually("it is \(state)") {
      try await sale.makeChoresDue()
      try await sleep(milliseconds: 50)
      return try await sale.status(position)?.state == state
    }
  }

  private func nothingIsOpen(_ sale: Sale, _ ended: [Payment.Status]) async throws {
    try await sale.eventually("nothing is open") {
      try await sale.makeChoresDue()
      return sale.provider.payments.values.map(\.status.rawValue).sorted() == ended.map(\.rawValue).sorted()
    }
  }

  @Test("Who has the hold still has paid for it, once")
  func heldStill() async throws {
    let sale = try await sale(tickets: 1, holdSeconds: 60)
    let position = try await sale.join("ann", method: "pm_1")
    #expect(try await sale.wait(for: .declined, position)?.reason == "processing_timeout")
    authorise(sale)
    try await waitAndRemind(for: .purchased, sale, position)
    #expect(try await sale.soldTickets() == [1])
    try await nothingIsOpen(sale, [.succeeded])
    await sale.end()
  }

  @Test("After the hold it buys the same seats, where nobody else has them")
  func seatsAreFree() async throws {
    let sale = try await sale(tickets: 2, holdSeconds: 1)
    let position = try await sale.join("ann", 2, method: "pm_1")
    try await expire(sale, position)
    authorise(sale)
    try await waitAndRemind(for: .purchased, sale, position)
    #expect(try await sale.soldTickets() == [1, 2])
    #expect(try await sale.purchase(position)?.standing.state == .sold)
    try await nothingIsOpen(sale, [.succeeded])
    // The house is full, also for who asks now.
    let other = try await sale.queue.enqueue(
      event: sale.event, user: "bob", seats: RequestedSeats(quantity: 1), method: nil)
    if case .inLine(let place, _, _) = other {
      try await waitAndRemind(for: .soldOut, sale, place.position)
    }
    await sale.end()
  }

  @Test("Who waited in line has the seats: the payment is let go of, and its buyer told so")
  func lineComesFirst() async throws {
    let sale = try await sale(tickets: 1, holdSeconds: 1)
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .declined, position)
    sale.provider.authorised = .requiresCapture
    let other = try await sale.join("bob", method: "pm_2")
    try await expire(sale, position)
    try await sale.wait(for: .purchased, other)
    authorise(sale)
    try await nothingIsOpen(sale, [.canceled, .succeeded])
    #expect(try await sale.status(position)?.state == .declined)
    #expect(try await sale.status(position)?.reason == "too_late")
    #expect(try await sale.purchase(position)?.standing.reason == "too_late")
    #expect(try await sale.purchase(other)?.standing.state == .sold)
    await sale.end()
  }

  @Test("All of its seats or none: of two of which one is somebody else's it buys nothing")
  func oneSeatIsGone() async throws {
    let sale = try await sale(tickets: 2, holdSeconds: 1)
    let position = try await sale.join("ann", 2, method: "pm_1")
    try await expire(sale, position)
    sale.provider.authorised = .requiresCapture
    let other = try await sale.join("bob", method: "pm_2")
    try await sale.wait(for: .purchased, other)
    authorise(sale)
    try await nothingIsOpen(sale, [.canceled, .succeeded])
    #expect(try await sale.status(position)?.reason == "too_late")
    #expect(try await sale.soldTickets().count == 1)
    await sale.end()
  }

  @Test("Who has bought otherwise since is not charged for both")
  func boughtSince() async throws {
    let sale = try await sale(tickets: 3, holdSeconds: 1)
    let position = try await sale.join("ann", method: "pm_1")
    try await expire(sale, position)
    sale.provider.authorised = .requiresCapture
    let again = try await sale.join("ann", method: "pm_2")
    try await sale.wait(for: .purchased, again)
    authorise(sale)
    try await nothingIsOpen(sale, [.canceled, .succeeded])
    #expect(try await sale.soldTickets().count == 1)
    #expect(try await sale.status(position)?.state == .declined)
    await sale.end()
  }

  @Test("After so long, and where that is not wanted, it is let go of")
  func never() async throws {
    let sale = try await sale(tickets: 1, holdSeconds: 60, late: 0)
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .declined, position)
    authorise(sale)
    try await nothingIsOpen(sale, [.canceled])
    #expect(try await sale.soldTickets() == [])
    await sale.end()
  }

  @Test("While the sale is paused nothing is decided, and when it goes on, it is")
  func paused() async throws {
    let sale = try await sale(tickets: 1, holdSeconds: 1)
    let position = try await sale.join("ann", method: "pm_1")
    try await expire(sale, position)
    func configure(_ state: String, version: Int) async throws {
      try await sale.queue.configure(
        EventSettings(
          id: sale.event, generation: 1, state: state, queueLimit: 1_000_000, perUserLimit: 4,
          holdSeconds: 1, rate: nil, message: "", version: version), create: false)
    }
    try await configure("paused", version: 2)
    authorise(sale)
    try await sale.eventually("the owner is asked") {
      try await sale.makeChoresDue()
      return try await sale.queue.latePayments(event: sale.event) == [position]
    }
    #expect(try await sale.status(position)?.state == .declined)
    try await configure("open", version: 3)
    try await waitAndRemind(for: .purchased, sale, position)
    try await nothingIsOpen(sale, [.succeeded])
    await sale.end()
  }
}
