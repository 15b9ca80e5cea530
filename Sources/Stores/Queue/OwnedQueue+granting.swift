import EventLoop
import Redis
package import Sale
import StoreCommon

/// The owner writes down what it has decided, and hears what happened to its tickets.
extension OwnedQueue {
  /// Where the event stands after a batch.
  package struct LineSnapshot: Sendable {
    package var head: Int
    /// As the owner saw it: whoever came since has not been looked at.
    package var tail: Int
    package var isSoldOut: Bool
    package var free: Int
    package var held: Int
    package var sold: Int
    package var grantedPerSecond: Double
    /// The owner stops reading now and wants to be woken by the next join.
    package var isIdle: Bool

    package init(
      head: Int, tail: Int, isSoldOut: Bool, free: Int, held: Int, sold: Int, grantedPerSecond: Double,
      isIdle: Bool
    ) {
      self.head = head
      self.tail = tail
      self.isSoldOut = isSoldOut
      self.free = free
      self.held = held
      self.sold = sold
      self.grantedPerSecond = grantedPerSecond
      self.isIdle = isIdle
    }
  }

  package enum CommitAnswer: Sendable {
    /// Written, except for `skipped`, who left since they were read: their tickets stay free.
    case written(skipped: [Int])
    /// Nothing was written: these tickets are locked by somebody the owner does not know of.
    case conflict(tickets: [Int])
  }

  /// Writes a plan down: decisions, ends of lines and where they stand, all at once.
  package func commit(
    snapshot: LineSnapshot, plan: ReservePlanner.Plan
  ) async throws -> CommitAnswer {
    let marks = plan.marks.map { line, served in
      served.map { "\(line):\($0.position):\($0.ordinal)" } ?? "\(line)::"
    }
    let ends = plan.ends.map { end in
      "\(end.line)/\(end.after ?? 0)/\(end.refusal.left ?? 0)/\(end.refusal.reason)"
    }
    var arguments: [RedisArgument] = [
      fence, .integer(snapshot.head), .integer(snapshot.tail),
      snapshot.isSoldOut ? "1" : "0", .integer(snapshot.free), .integer(snapshot.held),
      .integer(snapshot.sold), .text("\(snapshot.grantedPerSecond)"), snapshot.isIdle ? "1" : "0",
      .text(marks.joined(separator: ",")), .text(ends.joined(separator: ",")),
    ]
    arguments.reserveCapacity(11 + plan.decisions.count * 9)
    for decision in plan.decisions {
      var kind: RedisArgument, tickets = "", amount = 0, last = ""
      switch decision.outcome {
      case .granted(let ids, let price):
        (kind, tickets, amount, last) = (
          plan.isOutOfTurn ? "A" : "G", QueueStore.text(ids), price, Self.payment(decision.arrival)
        )
      case .refused(let refusal):
        (kind, amount, last) = ("J", refusal.left ?? 0, QueueStore.field(refusal.reason))
      }
      let arrival = decision.arrival
      arguments += [
        kind, .integer(arrival.position), .integer(arrival.ordinal), .integer(arrival.line),
        .text(UserKey(arrival.user).text), .text(tickets), .integer(amount), .text(last), .text(arrival.user),
      ]
    }
    let values = try await store.call("onsale_decide", event, arguments)
    let ids = values.count > 1 ? QueueStore.tickets(values[1].text ?? "") : []
    return values[0].text == "conflict" ? .conflict(tickets: ids) : .written(skipped: ids)
  }

  /// How who pays at once does, and where they came from.
  private static func payment(_ arrival: Arrival) -> String {
    guard let method = arrival.method else { return "" }
    return arrival.client.isEmpty ? method : method + " " + arrival.client
  }

  package enum Feedback: Sendable {
    case released([Int])
    case sold([Int])
    /// PostgreSQL says these belong to somebody else: the owner's map is wrong.
    case lost([Int])
    /// Somebody kept a place after the end of their line, and waits alone: see `WaitingLines.alone`.
    case kept(position: Int)
    /// And gave it up.
    case left(position: Int)
  }

  package struct Tick: Sendable {
    package let expired: [Int]
    package let feedback: [Feedback]
    package let state: String
    package let rate: Int?
    package let tail: Int
    /// The version of the settings that the queue has.
    package let version: Int
    /// Whether there is more to do by the next call: holds that have ended, tickets that came back, or places of a line that
    /// was lost.
    package let hasMore: Bool
    /// As in `LoadedQueue`.
    package let rejoined: Int
    package let waiting: Int
    /// How many ends wait to be noted: `ends`.
    package let waitingEnds: Int
    /// Whether only those come in who were in a line that was lost.
    package let isForReturning: Bool
    /// How many holds were shown that are not decided yet: `QueueHolds.shownHolds`.
    package let shownHolds: Int
    /// How many payments came late and are not decided yet: `LatePayments`.
    package let latePayments: Int
  }

  /// Returns what happened to tickets since the last call, and brings back a line that was lost, once those who were in
  /// it had time to come. In a process that calls `QueueHolds.end` that is all; in any other it also ends holds whose deadline
  /// has passed, of at most `limit` tickets.
  package func tick(limit: Int) async throws -> Tick {
    let now = store.clock.now(Partition(of: event))
    let values = try await store.call(
      "onsale_tick", event, [fence, .integer(limit), now.map { .integer($0) } ?? ""])
    guard values.count >= 10 else { throw StoreError(.unexpectedAnswer, "onsale_tick") }
    let news = values[2].array ?? []
    let feedback = news.compactMap { value -> Feedback? in
      guard let text = value.text, let kind = text.first else { return nil }
      let ids = QueueStore.tickets(String(text.dropFirst()))
      switch kind {
      case "r": return .released(ids)
      case "s": return .sold(ids)
      case "c": return ids.first.map { .left(position: $0) }
      case "y": return ids.first.map { .kept(position: $0) }
      default: return .lost(ids)
      }
    }
    return Tick(
      expired: QueueStore.tickets(values[1].text ?? ""), feedback: feedback, state: values[3].text ?? "",
      rate: values[4].text.flatMap { Int($0) }, tail: QueueStore.number(values[5]),
      version: QueueStore.number(values[6]), hasMore: values[7].integer == 1,
      rejoined: QueueStore.number(values[8]),
      waiting: QueueStore.number(values[9]),
      waitingEnds: values.count > 10 ? QueueStore.number(values[10]) : 0,
      isForReturning: values.count > 11 && values[11].integer == 1,
      shownHolds: values.count > 12 ? QueueStore.number(values[12]) : 0,
      latePayments: values.count > 13 ? QueueStore.number(values[13]) : 0)
  }
}
