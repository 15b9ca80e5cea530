import EventLoop
import Foundation
import HTTPClient
import Identity
import Ledger
import Logging
import Payments
import Postgres
import Queue
import Sale

/// One payment by hand: what is known of it here and at the provider, and its end.
///
/// Workers end every payment by themselves, in a named time. This is for those who cannot wait for that.
extension AdminCommand {
  private struct Desk {
    let key: PurchaseKey
    let found: Purchase
    let purchases: PurchaseStore
    let provider: StripePaymentClient
    let queue: QueueStore

    var progress: PurchaseProgress { found.progress }

    /// Its name at the provider.
    var reference: String {
      let own = progress.id ?? key.name
      return "\(own)-\(progress.attempt)"
    }
  }

  func payment(_ arguments: inout Arguments) async throws {
    let key = try request(try arguments.next("the request"))
    let action = arguments.optional()
    try arguments.finish()
    guard action == nil || ["void", "resolve"].contains(action) else {
      throw Failure.usage("a payment is shown, or `void` or `resolve`")
    }
    let url = try setting("ONSALE_PAYMENT_URL"), secretKey = try setting("ONSALE_PAYMENT_KEY")
    var configuration = try PostgresConfiguration(url: try setting("ONSALE_DATABASE_URL"), connections: 1)
    PurchaseStore.configure(&configuration)
    let postgres = PostgresClient(configuration, logger: Logger(label: "admin"))
    let http = HTTPClient()
    postgres.start()
    defer {
      postgres.close()
      http.close()
    }
    try await postgres.waitUntilReady(milliseconds: 5_000)
    let purchases = PurchaseStore(postgres)
    guard let found = try await purchases.find(key) else {
      throw Failure.refused("nothing of this request was ever to be paid")
    }
    try await withServers { servers in
      let desk = Desk(
        key: key, found: found, purchases: purchases,
        provider: StripePaymentClient(http, url: url, secretKey: secretKey), queue: servers.queue)
      switch action {
      case "void": try await void(desk)
      case "resolve": try await resolve(desk)
      default: try await show(desk)
      }
    }
  }

  /// Reads the id that its buyer has, or `EVENT-GENERATION-POSITION`.
  func request(_ text: String) throws(Failure) -> PurchaseKey {
    let parts = text.split(separator: "-").map { Int($0) }
    if parts.count == 3, let event = parts[0], let generation = parts[1], let position = parts[2] {
      return PurchaseKey(event: event, generation: generation, position: position)
    }
    let own = environment["ONSALE_REQUEST_SECRET"] ?? ""
    let secret = try own.isEmpty ? setting("ONSALE_JWT_SECRET") : own
    let former = ["ONSALE_REQUEST_SECRET_PREVIOUS", own.isEmpty ? "ONSALE_JWT_SECRET_PREVIOUS" : ""].flatMap {
      name in
      (environment[name] ?? "").split(separator: ",").map(String.init)
    }
    guard let id = RequestIDCoder(secret: secret, former: former).decode(text) else {
      throw .usage("\"\(text)\" is neither the id of a request nor EVENT-GENERATION-POSITION")
    }
    return PurchaseKey(event: id.event, generation: id.generation, position: id.position)
  }

  private func show(_ desk: Desk) async throws {
    let progress = desk.progress
    print("request    \(desk.key.name) of \(desk.found.user)")
    print("purchase   \(progress.state.rawValue)\(progress.reason.isEmpty ? "" : ", \(progress.reason)")")
    print("tickets    \(desk.found.tickets.map(String.init).joined(separator: ", "))")
    print(
      "amount     \(Self.money(progress.amount, progress.currency))\(desk.found.note.isEmpty ? "" : ", \(desk.found.note)")"
    )
    print("others     \(progress.hasOtherSeats ? "has them, as agreed" : progress.otherSeats.rawValue)")
    print("attempt    \(progress.attempt), \(progress.triedSeconds) s ago, reference \(desk.reference)")
    print("payment    \(progress.paymentID ?? "not known here")")
    if let id = progress.paymentID, PurchaseStore.isFree(id) { return print("provider   it was free") }
    guard let payment = try await look(desk) else {
      return print("provider   knows no such payment, or not yet")
    }
    let given = try await desk.provider.refunded(payment.id)
    print(
      "provider   \(payment.id) is \(payment.status), \(payment.amountCaptured) of \(payment.amount) "
        + "\(payment.currency) taken, \(given) given back")
  }

  private func look(_ desk: Desk) async throws -> Payment? {
    if let id = desk.progress.paymentID { return try await desk.provider.retrieve(id) }
    return try await desk.provider.find(reference: desk.reference)
  }

  /// Ends a payment that is under way. Whatever there is of it at the provider, or comes to be, is cancelled.
  private func void(_ desk: Desk) async throws {
    guard desk.progress.state == .paying else {
      throw Failure.refused("the payment is not under way: the purchase is \(desk.progress.state.rawValue)")
    }
    try await settle(
      desk, .declined, paymentID: desk.progress.paymentID, reason: "voided",
      looseReference: desk.progress.paymentID == nil ? desk.reference : nil)
    print("voided; the workers cancel what there is of it at the provider")
  }

  /// Ends a payment as the provider has it, where it has an end.
  private func resolve(_ desk: Desk) async throws {
    guard desk.progress.state == .paying else {
      return print("nothing to resolve: the purchase is \(desk.progress.state.rawValue)")
    }
    guard let payment = try await look(desk) else {
      throw Failure.refused("the provider knows no such payment, or not yet; `void` ends it")
    }
    guard payment.amount == desk.progress.amount, payment.currency == desk.progress.currency.uppercased()
    else {
      throw Failure.refused("payment \(payment.id) is of another amount; `void` ends this one")
    }
    switch PaymentOutcome(payment) {
    case .authorised:
      try await settle(desk, .sold, paymentID: payment.id, reason: "")
      print("sold; the workers capture \(payment.id)")
    case .declined(_, let code, _):
      try await settle(desk, .declined, paymentID: payment.id, reason: code)
      print("declined: \(code)")
    case .waiting:
      throw Failure.refused("payment \(payment.id) is \(payment.status); `void` ends it")
    }
  }

  private func settle(
    _ desk: Desk, _ outcome: PurchaseStore.Settlement.Outcome, paymentID: String?, reason: String,
    looseReference: String? = nil
  ) async throws {
    let progress =
      try await desk.purchases.settle([
        PurchaseStore.Settlement(
          key: desk.key, attempt: desk.progress.attempt, outcome: outcome, paymentID: paymentID,
          reason: reason,
          looseReference: looseReference)
      ]).first ?? nil
    guard let progress, progress.state.rawValue == outcome.rawValue else {
      throw Failure.refused("a worker was faster: the purchase is \(progress?.state.rawValue ?? "gone")")
    }
    // A worker that has it finds its end; where none has, its buyer is told from here.
    let confirmation = Confirmation(
      entryID: nil, event: desk.key.event, generation: desk.key.generation, position: desk.key.position,
      attempt: progress.attempt, tickets: desk.found.tickets, amount: progress.amount,
      method: progress.method,
      user: desk.found.user)
    try await desk.queue.confirmations.finish(
      event: desk.key.event,
      [
        ConfirmationStream.Ending(
          confirmation, outcome == .sold ? .purchased : .declined,
          reason: outcome == .sold ? progress.note : reason, tickets: progress.tickets)
      ])
  }
}
