import HTTPCommon
import Sale
import Store

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
    let event = try arguments.event()
    try arguments.finish()
    try await withServers { servers in
      print(Self.row(["REFUND", "STATE", "REQUEST", "TICKETS", "AMOUNT", "AT", "BY", "REASON"]))
      var last: String?
      repeat {
        let page = try await servers.refunds.refunds(event: event, before: last, limit: 500)
        for refund in page {
          let key = refund.key
          print(
            Self.row([
              refund.id, refund.state.rawValue, "\(key.event)-\(key.generation)-\(key.position)",
              refund.tickets.map(String.init).joined(separator: ","),
              Self.money(refund.amount, refund.currency), Time.text(refund.requestedAt), refund.who,
              refund.reason ?? "",
            ]))
        }
        last = page.count == 500 ? page.last?.id : nil
      } while last != nil
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
      var last: PurchaseStore.Key?
      repeat {
        let page = try await servers.refunds.purchases(
          event: event, user: user, ticket: ticket, after: last, limit: 500)
        let disputes = try await servers.refunds.disputes(of: page.map(\.key))
        for purchase in page {
          let key = purchase.key
          print(
            Self.row([
              "\(key.event)-\(key.generation)-\(key.position)", purchase.user,
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
