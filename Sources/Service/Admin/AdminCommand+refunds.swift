import HTTPCommon
import Ledger
import Sale

extension AdminCommand {
  /// Writes down what is to be given back; workers carry it out.
  func refund(_ arguments: inout Arguments) async throws {
    let blocks = arguments.flag("block")
    let key = try request(try arguments.next("the request"))
    var tickets: [Int] = []
    while let word = arguments.optional() {
      guard let ticket = Int(word), (1...Limits.ticketID).contains(ticket) else {
        throw Failure.usage("\"\(word)\" is not the number of a ticket")
      }
      tickets.append(ticket)
    }
    try await withServers { servers in
      let wish = RefundStore.Wish(key, tickets: tickets.isEmpty ? nil : tickets, releases: !blocks)
      let refund = try await servers.refunds.request(wish, by: who).refund
      print("\(refund.id) \(Self.text(refund)); `onsale admin refunds \(key.event)` shows what becomes of it")
    }
  }

  func refunds(_ arguments: inout Arguments) async throws {
    let word = try arguments.next("the event's id")
    switch word {
    case "dead": return try await deadRefunds(&arguments)
    case "resume", "close": return try await decide(word, &arguments)
    default: break
    }
    let event = try Arguments.event(word)
    try arguments.finish()
    try await withServers { servers in
      print(Self.refundRow)
      var last: String?
      repeat {
        let page = try await servers.refunds.refunds(event: event, before: last, limit: 500)
        for refund in page { print(Self.row(refund)) }
        last = page.count == 500 ? page.last?.id : nil
      } while last != nil
    }
  }

  private static var refundRow: String {
    row(["REFUND", "STATE", "REQUEST", "TICKETS", "AMOUNT", "AT", "BY", "REASON"])
  }

  private static func row(_ refund: RefundStore.Refund) -> String {
    let key = refund.key
    var reason = refund.reason ?? ""
    if refund.state == .requested, refund.tries > 0 { reason = "try \(refund.tries + 1)" }
    if let next = refund.retriedBy { reason += ", tried again as \(next)" }
    return row([
      refund.id, refund.state.rawValue, key.name,
      refund.tickets.map(String.init).joined(separator: ","),
      money(refund.amount, refund.currency), Time.text(refund.requestedAt), refund.who, reason,
    ])
  }

  private static let deadAtOnce = 500

  /// Refunds that failed and that nobody tries any more.
  private func deadRefunds(_ arguments: inout Arguments) async throws {
    let event = try arguments.optional().map { word throws(Failure) in try Arguments.event(word) }
    try arguments.finish()
    try await withServers { servers in
      print(Self.refundRow)
      var last: RefundStore.Refund?
      repeat {
        let page = try await servers.refunds.dead(event: event, after: last, limit: Self.deadAtOnce)
        for refund in page { print(Self.row(refund)) }
        last = page.count == Self.deadAtOnce ? page.last : nil
      } while last != nil
    }
  }

  /// Has one of them tried again, or all of an event's; or says that nothing more comes of it.
  private func decide(_ action: String, _ arguments: inout Arguments) async throws {
    let event = try arguments.event()
    let id = try arguments.next("the refund, or `all`")
    try arguments.finish()
    if action == "close", id == "all" {
      throw Failure.usage("close takes one refund: each is decided by itself")
    }
    try await withServers { servers in
      var chosen: [RefundStore.Refund] = []
      if id == "all" {
        while true {
          let page = try await servers.refunds.dead(event: event, after: chosen.last, limit: Self.deadAtOnce)
          chosen += page
          if page.count < Self.deadAtOnce { break }
        }
      } else if let refund = try await servers.refunds.find(event: event, id: id) {
        chosen = [refund]
      }
      var done = 0
      for refund in chosen {
        if action == "close" {
          guard try await servers.refunds.close(refund, by: who) else { continue }
          print("\(refund.id) closed")
        } else {
          guard let next = try await servers.refunds.resume(refund, by: who) else { continue }
          print("\(refund.id) is tried again as \(next)")
        }
        done += 1
      }
      if done == 0 {
        throw Failure.refused("there is no such dead letter, or nothing of it is left to give back")
      }
    }
  }

  func purchases(_ arguments: inout Arguments) async throws {
    let user = try arguments.option("user")
    let ticket = try arguments.option("ticket").map { word throws(Failure) in
      guard let ticket = Int(word), ticket > 0 else { throw .usage("--ticket takes the number of a ticket") }
      return ticket
    }
    let event = try arguments.event()
    try arguments.finish()
    try await withServers { servers in
      print(Self.row(["REQUEST", "USER", "TICKETS", "AMOUNT", "REFUNDED", "AT", "DISPUTES"]))
      var last: PurchaseKey?
      repeat {
        let page = try await servers.refunds.purchases(
          event: event, user: user, ticket: ticket, after: last, limit: 500)
        let disputes = try await servers.refunds.disputes(of: page.map(\.key))
        for purchase in page {
          let key = purchase.key
          print(
            Self.row([
              key.name, purchase.user,
              purchase.tickets.map(String.init).joined(separator: ","),
              Self.money(purchase.amount, purchase.currency),
              Self.money(purchase.refunded, purchase.currency), Time.text(purchase.soldAt),
              (disputes[key] ?? []).map { "\($0.id) \($0.status)" }.joined(separator: ", "),
            ]))
        }
        last = page.count == 500 ? page.last?.key : nil
      } while last != nil
    }
  }

  static func money(_ amount: Int, _ currency: String) -> String {
    "\(Currency(code: currency)?.text(amount) ?? String(amount)) \(currency)"
  }

  private static func text(_ refund: RefundStore.Refund) -> String {
    "\(refund.tickets.count) tickets, \(money(refund.amount, refund.currency)), "
      + (refund.releases ? "for sale again" : "blocked")
  }
}
