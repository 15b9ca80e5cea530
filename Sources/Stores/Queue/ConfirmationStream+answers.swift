import EventLoop
import Redis
package import Sale
import StoreCommon

/// What became of payments, for the buyers to hear.
extension ConfirmationStream {
  /// How a payment ended, for the poller; acknowledges the stream's entry in the same step.
  package struct Ending: Sendable {
    package enum Outcome: String, Sendable {
      case purchased = "P"
      case declined = "D"
      /// PostgreSQL gave the tickets to somebody else; nothing was charged.
      case lost = "X"
      /// Not to be sold to this user; the tickets are nobody's, and nothing was charged.
      case refused = "J"
    }
    package let confirmation: Confirmation
    package let outcome: Outcome
    package let reason: String
    /// What was bought, as PostgreSQL has it.
    package let tickets: [Int]

    /// - Parameter tickets: of the purchase; where that has none, what was to be bought counts.
    package init(
      _ confirmation: Confirmation, _ outcome: Outcome, reason: String = "", tickets: [Int] = []
    ) {
      self.confirmation = confirmation
      self.outcome = outcome
      self.reason = reason
      self.tickets = tickets.isEmpty ? confirmation.tickets : tickets
    }
  }

  /// Tickets that one call tells of, but for those of its last request: some milliseconds of Redis.
  package static let ticketsFinishedAtOnce = 500

  /// - Parameter endings: all of one event. Of many tickets they take several calls, each of which is atomic.
  package func finish(event: Int, _ endings: [Ending]) async throws {
    var rest = endings[...]
    while !rest.isEmpty {
      var count = 0, tickets = 0
      for ending in rest where tickets < Self.ticketsFinishedAtOnce {
        count += 1
        tickets += ending.tickets.count
      }
      try await finish(event: event, atOnce: rest.prefix(count))
      rest = rest.dropFirst(count)
    }
  }

  private func finish(event: Int, atOnce endings: ArraySlice<Ending>) async throws {
    let arguments = endings.flatMap { ending -> [RedisArgument] in
      [
        .text(ending.outcome.rawValue), .integer(ending.confirmation.position),
        .integer(ending.confirmation.attempt), .text(QueueStore.field(ending.reason)),
        .text(ending.confirmation.entryID ?? ""),
        .text(
          "\(ending.confirmation.generation):\(UserKey(ending.confirmation.user).text):"
            + QueueStore.text(ending.tickets)),
      ]
    }
    _ = try await store.call("onsale_finish", event, arguments)
  }

  /// Has the buyer told that their payment waits for them, and where they go for that. False where the attempt is over, or
  /// Redis has another line by now.
  package func askBuyer(_ confirmation: Confirmation, redirectURL: String) async throws -> Bool {
    // What separates the parts of a record means the same in an address when it is escaped.
    let url = QueueStore.field(redirectURL.replacing("@", with: "%40").replacing("|", with: "%7C"))
    do {
      let values = try await store.call(
        "onsale_ask_buyer", confirmation.event,
        [
          .integer(confirmation.position), .integer(confirmation.attempt), .integer(confirmation.generation),
          .text(RequestStatus.actionPrefix + url),
        ])
      return values[0].text == "ok"
    } catch let error as StoreError where error.code == .noQueue {
      return false
    }
  }

  /// Gives a buyer the hold again whose sale was taken back, for its whole time. Repeated, it changes nothing. The owner of
  /// the seats reads them anew for it.
  /// - Parameters:
  ///   - tickets: all that were sold: whoever has others, or fewer, has been told otherwise.
  ///   - holdSeconds: for how long at least: nobody is watching, since they were told that the tickets are theirs.
  /// - Returns: false where there is no such place any more, its tickets are somebody else's, its buyer has another one, or
  ///   no payment could begin.
  package func askAgain(
    event: Int, generation: Int, position: Int, attempt: Int, tickets: [Int], reason: String,
    holdSeconds: Int
  ) async throws -> Bool {
    let values = try await store.call(
      "onsale_ask_again", event,
      [
        .integer(position), .integer(attempt), .integer(generation), .text(QueueStore.field(reason)),
        .text(tickets.map(String.init).joined(separator: ",")), .integer(holdSeconds * 1_000),
      ])
    return values[0].text == "ok"
  }

  package enum RefundAnswer: Sendable { case told, moved }

  /// Some tickets of a purchase were given back: its record says what is left, its user's count is lower, and the tickets
  /// do not count as sold. Repeated, it changes nothing. The owner of the seats reads them anew for it.
  /// - Parameters:
  ///   - purchase: as it is since.
  ///   - owned: how many tickets PostgreSQL counts for the user, where the purchase is of an earlier life of the line.
  /// - Returns: `moved` where the buyer has not been told of the purchase yet: later.
  package func giveBack(
    _ tickets: [Int], of key: PurchaseKey, _ purchase: Purchase, owned: Int
  ) async throws -> RefundAnswer {
    do {
      let answer = try await store.call(
        "onsale_give_back", key.event,
        [
          .integer(key.generation), .integer(key.position), .text(UserKey(purchase.user).text),
          .text(QueueStore.text(purchase.tickets)), .integer(purchase.progress.amount), .text(purchase.note),
          .text(QueueStore.text(tickets)),
          .integer(owned),
        ])
      return answer.first?.text == "moved" ? .moved : .told
    } catch let error as StoreError where error.code == .noQueue {
      // It has left Redis: PostgreSQL alone is asked.
      return .told
    }
  }
}
