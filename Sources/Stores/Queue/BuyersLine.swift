package import EventLoop
import Redis
package import Sale
import StoreCommon

/// What buyers do: they join a line, pay, and leave. For the servers that answer them.
@LoopActor
package struct BuyersLine {
  let store: QueueStore

  /// A place in an event's queue.
  package struct Place: Sendable, Equatable {
    package let position: Int
    package let generation: Int
    /// The line of those who wish for the same, and how many came to it before and with this one, as the request's id says
    /// them from the first answer on; `nil` where that is not known: of a place that was kept after the end of its line.
    package let wish: WishPlace?

    package init(position: Int, generation: Int, wish: WishPlace? = nil) {
      self.position = position
      self.generation = generation
      self.wish = wish
    }
  }

  package enum EnqueueAnswer: Sendable, Equatable {
    /// In line. `isNew` is false when this user was in line already.
    case inLine(Place, head: Int, isNew: Bool)
    case notOpen
    case closed
    case soldOut
    case limitExceeded(owned: Int, limit: Int)
    case queueFull
    /// Left a place of this event too often.
    case tooOften
    /// Places of theirs came to nothing too often.
    case refusedTooOften
    /// The idempotency key came with another request before.
    case idempotencyMismatch
    /// Redis lost the line: for so long only those come in who were in it.
    case restoring(milliseconds: Int)
  }

  package enum ConfirmAnswer: String, Sendable {
    case ok, expired, forbidden
    /// The same, and it is noted that other seats will do; or that they will not, whatever was said, as these were chosen by
    /// name.
    case okAgreed = "ok_agreed"
    case okByName = "ok_by_name"
    case notReserved = "not_reserved"
    /// Too many cards were tried for this hold.
    case tooOften = "too_often"
    /// It is not free, and no payment method came with it.
    case methodRequired = "method_required"
    /// The idempotency key came with another card before.
    case idempotencyMismatch = "mismatch"
    /// Other tickets are held by now than the buyer was told of.
    case holdLost = "hold_lost"
    /// No payment starts for now; the hold stays, and its time stands still.
    case stopped
    /// No payment starts any more: the sale was closed while payments were stopped, or its event was cancelled.
    case closed
    /// A payment is under way with which the buyer has said otherwise of other seats.
    case otherAgreement = "agreement"
  }

  /// Starts the payment of a hold, which needs no method where it is free; the hold no longer expires until the payment has ended. Repeating it
  /// while it is under way, or after it succeeded, changes nothing.
  /// - Parameters:
  ///   - tickets: those that the buyer was told of, if that is known: no others are paid for.
  ///   - takesOthers: whether others will do if the payment comes when these are somebody else's. Of seats that were chosen by
  ///     name nothing else will.
  package func confirm(
    event: Int, generation: Int, position: Int, user: String, method: String?, idempotencyKey: String? = nil,
    tickets: [Int] = [], client: String = "", takesOthers: Bool = false
  ) async throws -> ConfirmAnswer {
    let values = try await store.call(
      "onsale_confirm", event,
      [
        .integer(position), .text(UserKey(user).text), .text(method ?? ""), .text(user),
        .text(Self.name(idempotencyKey, of: user)), .integer(generation), .text(QueueStore.text(tickets)),
        .text(client), takesOthers ? "1" : "0",
      ])
    guard let answer = values[0].text.flatMap(ConfirmAnswer.init(rawValue:)) else {
      throw StoreError(.unexpectedAnswer, "onsale_confirm")
    }
    return answer
  }

  package enum CancelAnswer: String, Sendable {
    case ok, forbidden, purchased, confirming, ended, unknown
  }

  /// Leaves the line, or gives the tickets back.
  package func cancel(event: Int, generation: Int, position: Int, user: String) async throws -> CancelAnswer {
    let values = try await store.call(
      "onsale_cancel", event, [.integer(position), .text(UserKey(user).text), .integer(generation)])
    guard let answer = values[0].text.flatMap(CancelAnswer.init(rawValue:)) else {
      throw StoreError(.unexpectedAnswer, "onsale_cancel")
    }
    return answer
  }

  /// Tells the workers that something has happened to the payment of a request: whoever has it asks for it at once.
  package func hintPayment(event: Int, generation: Int, position: Int) async throws {
    _ = try await store.redis.command([
      "PUBLISH", .text(Partition(of: event).confirmWakes), .text("\(event)-\(generation)-\(position)"),
    ])
  }

  package enum ShowAnswer: Int, Sendable {
    /// The time of the hold is over, the seats are somebody else's, or the place is.
    case lost
    /// The owner of the seats is to decide.
    case awaited
    /// The place was decided: its record says how.
    case decided
  }

  /// In one call: a millisecond of Redis.
  private static let holdsShownAtOnce = 100

  /// Hands holds to the owner of the seats, of places that are in line although these were held for them. Repeating it
  /// changes nothing.
  @discardableResult
  package func show(event: Int, _ holds: [ShownHold]) async throws -> [ShowAnswer] {
    var answers: [ShowAnswer] = []
    for start in stride(from: 0, to: holds.count, by: Self.holdsShownAtOnce) {
      let values = try await store.call(
        "onsale_show_holds", event,
        holds[start..<min(start + Self.holdsShownAtOnce, holds.count)].flatMap { hold -> [RedisArgument] in
          [
            .integer(hold.position), .text(hold.userKey), .integer(hold.generation), .integer(hold.deadline),
            .integer(hold.amount), .text(QueueStore.text(hold.tickets)),
          ]
        })
      answers += values.dropFirst().map { $0.integer.flatMap(ShowAnswer.init(rawValue:)) ?? .lost }
    }
    return answers
  }

  /// Ends a queue that is an older copy of itself, for who compares what Redis says with nothing but what it said before; its
  /// owner lets go of its seats (`OwnedQueue.markLost`). Harmless to repeat, and where it was made anew since.
  package func markLost(event: Int, generation: Int) async throws {
    _ = try await store.call("onsale_forsake", event, [.integer(generation), ""])
  }

  /// Ends the queues that are older copies of themselves, as far as this store has given out places of theirs. For when
  /// Redis was away: another process may give out the same places before this one gives out its next.
  package func markOlderCopiesLost() async throws {
    for (event, line) in store.lines.lines where !line.isLost {
      guard let document = try await store.reader.document(event: event),
        document.generation == line.generation,
        document.tail < line.position
      else { continue }
      store.lines.lose(event: event)
      try await markLost(event: event, generation: line.generation)
    }
  }

  /// What a wish's entry says: the seats, `m` and the most that they may cost, `c` and the client behind that, and a payment
  /// method behind a blank. What is behind `m` a version that does not know it leaves to one that does.
  static func payload(
    _ seats: RequestedSeats, _ method: String?, _ client: String = "", _ maxAmount: Int?
  ) -> String {
    let client = method == nil || client.isEmpty ? "" : "c" + client
    let limits = maxAmount == nil && client.isEmpty ? "" : "m" + (maxAmount.map(String.init) ?? "") + client
    return seats.encoded + limits + (method.map { " " + $0 } ?? "")
  }

  /// Short, and different for each user: a key is its sender's own.
  static func name(_ idempotencyKey: String?, of user: String) -> String {
    idempotencyKey.map { UserKey("\(user)\n\($0)").text } ?? ""
  }
}
