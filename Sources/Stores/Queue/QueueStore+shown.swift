import Redis
import Sale

/// Holds that Redis has forgotten and somebody else remembers: the buyer, signed, or a server that told of them. Their
/// owner gives the seats back, if they are nobody else's.
extension QueueStore {
  /// What was held for a place.
  package struct Hold: Sendable, Equatable {
    package let position: Int
    package let userKey: String
    /// The life of the queue in which it was granted.
    package let generation: Int
    /// In milliseconds since 1970 on Redis's clock.
    package let deadline: Int
    /// In minor units.
    package let amount: Int
    package let tickets: [Int]

    package init(
      position: Int, userKey: String, generation: Int, deadline: Int, amount: Int, tickets: [Int]
    ) {
      self.position = position
      self.userKey = userKey
      self.generation = generation
      self.deadline = deadline
      self.amount = amount
      self.tickets = tickets
    }

    /// As the library keeps it: deadline, amount, tickets and the user's key.
    init?(shown text: String, _ position: Int) {
      let parts = text.split(separator: "|", omittingEmptySubsequences: false)
      guard parts.count == 4, let deadline = Int(parts[0]), let amount = Int(parts[1]) else { return nil }
      self.init(
        position: position, userKey: String(parts[3]), generation: 0, deadline: deadline, amount: amount,
        tickets: QueueStore.tickets(String(parts[2])))
    }
  }

  /// In one call: a millisecond of Redis.
  private static let holdsShownAtOnce = 100

  package enum ShowAnswer: Int, Sendable {
    /// The time of the hold is over, the seats are somebody else's, or the place is.
    case lost
    /// The owner of the seats is to decide.
    case awaited
    /// The place was decided: its record says how.
    case decided
  }

  /// Hands holds to the owner of the seats, of places that are in line although these were held for them. Repeating it
  /// changes nothing.
  @discardableResult
  package func show(event: Int, _ holds: [Hold]) async throws -> [ShowAnswer] {
    var answers: [ShowAnswer] = []
    for start in stride(from: 0, to: holds.count, by: Self.holdsShownAtOnce) {
      let values = try await call(
        "onsale_show_holds", event,
        holds[start..<min(start + Self.holdsShownAtOnce, holds.count)].flatMap { hold -> [RedisArgument] in
          [
            .integer(hold.position), .text(hold.userKey), .integer(hold.generation), .integer(hold.deadline),
            .integer(hold.amount), .text(Self.text(hold.tickets)),
          ]
        })
      answers += values.dropFirst().map { $0.integer.flatMap(ShowAnswer.init(rawValue:)) ?? .lost }
    }
    return answers
  }

  /// What was shown and is not decided yet, the latest deadline first: of two who had the same seats, the later one.
  ///
  /// Read in steps. What is shown meanwhile may be missing; the next tick counts it.
  package func shownHolds(event: Int) async throws -> [Hold] {
    var holds: [Int: Hold] = [:]
    try await scan("HSCAN", EventKeys(event).shown) { members in
      for (position, text) in Self.fields(members) {
        guard let position = Int(position), let hold = Hold(shown: text, position) else { continue }
        holds[position] = hold
      }
    }
    return holds.values.sorted { ($0.deadline, $1.position) > ($1.deadline, $0.position) }
  }

  /// Whether anything was shown that is not decided yet.
  package func hasShownHolds(event: Int) async throws -> Bool {
    try await redis.command(["HLEN", .text(EventKeys(event).shown)]).integer ?? 0 > 0
  }

  /// Where the places of these holds stand in line; `nil` for one that does not.
  package func entries(event: Int, of holds: some Sequence<Hold>) async throws -> [Entry?] {
    let values = try await call(
      "onsale_find", event, holds.flatMap { [.integer($0.position), .text($0.userKey)] })
    return stride(from: 1, to: values.count - 3, by: 4).map { index in
      Entry(
        id: values[index].text, line: Self.number(values[index + 1]), payload: values[index + 2].text ?? "",
        user: values[index + 3].text ?? "")
    }
  }

  /// What became of holds that were shown. Their buyers hear of it.
  /// - Parameter holds: with whether the seats were given back.
  package func settle(event: Int, epoch: Int, load: Int, _ holds: [(position: Int, isBack: Bool)])
    async throws
  {
    if holds.isEmpty { return }
    _ = try await call(
      "onsale_settle_holds", event,
      [Self.fence(epoch, load)] + holds.flatMap { [.integer($0.position), $0.isBack ? "1" : "0"] })
  }
}
