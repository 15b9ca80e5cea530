import EventLoop
import HTTPCommon
import JSON
import Ledger
import Queue
import Sale

/// How a sale goes, for its operator.
@LoopActor
struct EventReport {
  let events: EventStore
  let queue: QueueReader

  /// `nil` for an unknown event. Redis may be away: then `queue` is `null` and holds are not known.
  func json(event id: Int) async throws -> JSON? {
    guard let event = try await events.event(id) else { return nil }
    let sales = try await events.sales(event: id)
    let document: QueueDocument?
    do { document = try await queue.document(event: id) } catch { document = nil }
    let held = document?.held ?? 0
    return [
      "id": .integer(id), "name": .string(event.name), "state": .string(event.settings.shownState),
      "postponed": .bool(event.isPostponed),
      "onsale_at": JSON(event.onsaleAt.map(Time.text)), "currency": .string(event.currency),
      "message": .string(event.settings.message), "rate": JSON(event.settings.rate),
      "generation": .integer(event.settings.generation), "version": .integer(event.settings.version),
      "tickets": [
        "total": .integer(event.total), "available": .integer(max(0, event.total - event.sold - held)),
        "held": .integer(held), "sold": .integer(event.sold),
      ],
      "sections": .array(
        event.sections.map { section in
          [
            "name": .string(section.name), "price": .integer(section.price),
            "max_price": .integer(section.maxPrice), "total": .integer(section.total),
            "sold": .integer(section.sold),
          ]
        }),
      "halt": event.halt.map(Self.json) ?? .null,
      "queue": document.map(Self.json) ?? .null,
      "sales": Self.json(sales),
    ]
  }

  private static func json(_ halt: SaleHalt) -> JSON {
    [
      "reason": .string(halt.reason.rawValue), "detail": .string(halt.reason.text),
      "tickets": .integer(halt.tickets.count),
    ]
  }

  private static func json(_ document: QueueDocument) -> JSON {
    [
      "state": .string(document.isSoldOut && document.state == "open" ? "sold_out" : document.shownState),
      "generation": .integer(document.generation), "head": .integer(document.head),
      "tail": .integer(document.tail), "waiting": .integer(max(0, document.tail - document.head)),
      "available": .integer(document.free), "held": .integer(document.held), "sold": .integer(document.sold),
      "granted_per_second": .number((document.grantedPerSecond * 10).rounded() / 10),
    ]
  }

  private static func json(_ sales: EventStore.Sales) -> JSON {
    func count(_ state: String) -> JSON { .integer(sales.purchases[state] ?? 0) }
    return [
      "sold": count("sold"), "paying": count("paying"), "declined": count("declined"), "void": count("void"),
      "amount": .integer(sales.amount), "captured_amount": .integer(sales.capturedAmount),
      "refunded_amount": .integer(sales.refundedAmount),
      "disputed_amount": .integer(sales.disputedAmount),
      "buyers": .integer(sales.buyers), "first_sold_at": JSON(sales.firstSoldAt.map(Time.text)),
      "last_sold_at": JSON(sales.lastSoldAt.map(Time.text)), "open_chores": .integer(sales.openOutboxEntries),
    ]
  }
}
