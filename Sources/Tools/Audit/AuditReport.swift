import Foundation
package import JSON
package import Payments
import Sale

/// What an audit found, and what it did.
package struct AuditReport: Sendable {
  /// Of each kind this many are written out; the rest is counted.
  private static let shownPerKind = 20

  package var findings = Findings()
  package var events: [Int: EventFigures] = [:]
  package var payments: [Payment.Status: Int] = [:]
  package var foreignPayments = 0
  package var repairs: [RepairNote] = []
  package var looked = Looked()

  /// What was looked at.
  package struct Looked: Sendable, Equatable {
    /// When the run without findings began since which it was looked, in unix seconds; `nil` for all time.
    package var since: Int?
    /// Why it was looked at all time, where somebody might expect otherwise.
    package var reason = ""
    package var events = 0
    /// Rows of PostgreSQL that were counted by their age, without being read; and purchases and payments that were read.
    package var counted = 0
    package var purchases = 0
    package var payments = 0
    package var isWhole: Bool { since == nil }

    package init() {}

    var text: String {
      let scope =
        since.map {
          "what may have changed since \(Date(timeIntervalSince1970: TimeInterval($0)).formatted(.iso8601))"
        }
        ?? "everything\(reason.isEmpty ? "" : ", as \(reason)")"
      return "looked at \(scope): \(events) events, \(purchases) purchases, \(payments) payments"
        + (counted > 0 ? "; \(counted) rows were compared by their age\n" : "\n")
    }
  }

  package init() {}

  package var isClean: Bool { findings.violations == 0 }

  /// Paid and not delivered.
  package var paidNotDelivered: [Finding] { findings.kept.filter(\.kind.isPaidNotDelivered) }
  /// Delivered and not paid.
  package var deliveredNotPaid: [Finding] { findings.kept.filter(\.kind.isDeliveredNotPaid) }

  package var text: String {
    var out = ""
    for figures in events.values.sorted(by: { $0.event < $1.event }) {
      out +=
        "event \(figures.event) (\(figures.state)): \(figures.accepted) accepted = \(figures.ended) ended + "
        + "\(figures.pending) pending"
      if !figures.terminal.isEmpty {
        let states = figures.terminal.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
        out += " (\(states.joined(separator: ", ")))"
      }
      out +=
        "\n  \(figures.ticketsSold) of \(figures.tickets) tickets sold in \(figures.salesSold) purchases for "
        + "\(figures.amountSold); \(figures.salesCaptured) captured"
      if figures.underWay > 0 { out += "; \(figures.underWay) under way" }
      out += "\n"
    }
    out += looked.text
    let statuses = payments.sorted { $0.key.rawValue < $1.key.rawValue }.map { "\($0.value) \($0.key)" }
    out += "payments: \(statuses.isEmpty ? "none" : statuses.joined(separator: ", "))"
    out += foreignPayments > 0 ? "; \(foreignPayments) of somebody else\n" : "\n"
    for repair in repairs { out += "repair: \(repair.text)\n" }
    let kinds = findings.counts.sorted {
      ($0.key.isViolation ? 0 : 1, $0.key.breaks, $0.key.rawValue) < (
        $1.key.isViolation ? 0 : 1, $1.key.breaks, $1.key.rawValue
      )
    }
    for (kind, count) in kinds {
      out += "\(kind.isViolation ? "VIOLATION" : "note") \(kind.breaks) \(kind.rawValue): \(count)\n"
      for finding in findings.kept.filter({ $0.kind == kind }).prefix(Self.shownPerKind) {
        out += "  \(finding.text)\n"
      }
    }
    for (title, list) in [
      ("paid, not delivered", paidNotDelivered), ("delivered, not paid", deliveredNotPaid),
    ]
    where !list.isEmpty {
      out += "\(title):\n"
      for finding in list.prefix(Self.shownPerKind) { out += "  \(finding.text)\n" }
    }
    out += isClean ? "clean: every invariant holds\n" : "\(findings.violations) violations\n"
    return out
  }

  package var json: JSON {
    [
      "clean": .bool(isClean), "violations": .integer(findings.violations),
      "events": .array(events.values.sorted { $0.event < $1.event }.map(\.json)),
      "payments": .object(
        payments.sorted { $0.key.rawValue < $1.key.rawValue }.map { ($0.key.rawValue, .integer($0.value)) }),
      "looked": [
        "since": JSON(looked.since), "whole": .bool(looked.isWhole), "events": .integer(looked.events),
        "purchases": .integer(looked.purchases), "payments": .integer(looked.payments),
        "counted": .integer(looked.counted),
      ],
      "foreign_payments": .integer(foreignPayments),
      "counts": .object(
        findings.counts.sorted { $0.key.rawValue < $1.key.rawValue }.map {
          ($0.key.rawValue, .integer($0.value))
        }),
      "findings": .array(findings.kept.map(\.json)),
      "paid_not_delivered": .array(paidNotDelivered.map(\.json)),
      "delivered_not_paid": .array(deliveredNotPaid.map(\.json)),
      "repairs": .array(repairs.map { ["what": .string($0.what), "done": .bool($0.isDone)] }),
    ]
  }
}

extension Finding {
  package var text: String {
    var subject = event == 0 ? "" : "event \(event)"
    if let key { subject = "request \(key.name)" }
    if let ticket { subject += " ticket \(ticket)" }
    if let paymentID { subject += " payment \(paymentID)" }
    return subject.isEmpty ? detail : "\(subject): \(detail)"
  }

  var json: JSON {
    var members: [(name: String, value: JSON)] = [
      ("kind", .string(kind.rawValue)), ("breaks", .string(kind.breaks)),
      ("violation", .bool(kind.isViolation)),
      ("event_id", .integer(event)),
    ]
    if let generation { members.append(("generation", .integer(generation))) }
    if let position { members.append(("position", .integer(position))) }
    if let ticket { members.append(("ticket", .integer(ticket))) }
    if let paymentID { members.append(("payment_id", .string(paymentID))) }
    members.append(("detail", .string(detail)))
    return .object(members)
  }
}

/// One thing that the audit tried to settle.
package struct RepairNote: Sendable, Equatable {
  package let what: String
  package let isDone: Bool

  package init(_ what: String, isDone: Bool) {
    self.what = what
    self.isDone = isDone
  }

  package var text: String { (isDone ? "" : "NOT DONE: ") + what }
}
