package import EventLoop
import Redis
package import Sale
import StoreCommon

/// How those come who want a place: as many of one event as one turn of the loop brought, by one call, in their order.
extension BuyersLine {
  /// In one call: less than a millisecond of Redis.
  package nonisolated static let joinsAtOnce = 64

  /// Somebody who wants a place.
  package struct Joining: Sendable {
    /// As requests' ids name their owner.
    package let userKey: String
    let user: String
    let quantity: Int
    let payload: String
    let idempotencyName: String
    let lostPlace: Int?

    /// - Parameters:
    ///   - client: where they come from, as `ClientNames` says it; kept with a payment method only.
    ///   - maxAmount: in minor units; what costs more is refused when it would be granted.
    ///   - idempotencyKey: the key of the last place that was given out is remembered, and no other: a new one for a place
    ///     that the user has leaves nothing behind.
    ///   - lostPlace: the user's position in a life of the queue that was lost. While the line is restored they keep it.
    @LoopActor
    package init(
      user: String, seats: RequestedSeats, method: String?, client: String = "", maxAmount: Int? = nil,
      idempotencyKey: String? = nil, lostPlace: Int? = nil
    ) {
      self.user = user
      self.lostPlace = lostPlace
      userKey = UserKey(user).text
      quantity = seats.quantity
      payload = BuyersLine.payload(seats, method, client, maxAmount)
      idempotencyName = BuyersLine.name(idempotencyKey, of: user)
    }
  }

  package typealias JoinAnswer = Result<EnqueueAnswer, any Error>

  /// Gives each of them a place in line, or the one they have, or the one that they were given for their idempotency key.
  /// - Parameters:
  ///   - joinings: at most `joinsAtOnce`.
  ///   - tell: called once with an answer for each, `StoreError.noQueue` where Redis does not know the event; possibly
  ///     before this returns.
  package func enqueue(event: Int, _ joinings: [Joining], _ tell: @escaping @LoopActor ([JoinAnswer]) -> Void)
  {
    precondition(!joinings.isEmpty && joinings.count <= Self.joinsAtOnce, "one call is short")
    var arguments: [RedisArgument] = []
    arguments.reserveCapacity(6 * joinings.count)
    for one in joinings {
      arguments.append(.text(one.userKey))
      arguments.append(.integer(one.quantity))
      arguments.append(.text(one.payload))
      arguments.append(.text(one.user))
      arguments.append(.text(one.idempotencyName))
      arguments.append(one.lostPlace.map { .integer($0) } ?? "")
    }
    store.redis.call("onsale_enqueue_many", keys: [EventKeys(event).meta], arguments) { [self] result in
      switch result {
      case .success(.string(let text)): takeIn(text, event, count: joinings.count, tell)
      case .success: tell(joinings.map { _ in .failure(Self.unexpectedJoin) })
      case .failure(let error): tell(joinings.map { _ in .failure(error) })
      }
    }
  }

  /// The same of one alone.
  package func enqueue(
    event: Int, user: String, seats: RequestedSeats, method: String?, client: String = "",
    maxAmount: Int? = nil, idempotencyKey: String? = nil, lostPlace: Int? = nil
  ) async throws -> EnqueueAnswer {
    let joining = Joining(
      user: user, seats: seats, method: method, client: client, maxAmount: maxAmount,
      idempotencyKey: idempotencyKey, lostPlace: lostPlace)
    return try await enqueue(event: event, [joining])[0].get()
  }

  package func enqueue(event: Int, _ joinings: [Joining]) async -> [JoinAnswer] {
    await withUnsafeContinuation { continuation in
      enqueue(event: event, joinings) { continuation.resume(returning: $0) }
    }
  }

  private static var unexpectedJoin: StoreError { StoreError(.unexpectedAnswer, "onsale_enqueue_many") }

  private func takeIn(
    _ text: [UInt8], _ event: Int, count: Int, _ tell: @escaping @LoopActor ([JoinAnswer]) -> Void
  ) {
    var words = Words(text)
    guard words.next() == "ok" else {
      return tell(Array(repeating: .failure(StoreError(.noQueue, "event \(event)")), count: count))
    }
    let generation = words.number(), head = words.number()
    var isOlderCopy = false
    var answers: [JoinAnswer] = []
    answers.reserveCapacity(count)
    while words.nextLine() {
      let word = words.next()
      switch word {
      case "queued":
        let place = words.place(generation)
        if store.lines.gaveOut(
          event: event, generation: generation, position: place.position, connection: store.redis.readySince)
        {
          answers.append(.success(.inLine(place, head: head, isNew: true)))
        } else {
          // Given out twice: the line is an older copy of itself.
          isOlderCopy = true
          answers.append(.failure(StoreError(.noQueue, "event \(event)")))
        }
      // Not as one that was given out just now: they come in any order.
      case "rejoined": answers.append(.success(.inLine(words.place(generation), head: head, isNew: true)))
      case "again": answers.append(.success(.inLine(words.place(generation), head: head, isNew: false)))
      case "restoring": answers.append(.success(.restoring(milliseconds: words.number())))
      case "not_open": answers.append(.success(.notOpen))
      case "closed": answers.append(.success(.closed))
      case "sold_out": answers.append(.success(.soldOut))
      case "limit": answers.append(.success(.limitExceeded(owned: words.number(), limit: words.number())))
      case "full": answers.append(.success(.queueFull))
      case "too_often": answers.append(.success(words.next() == "refused" ? .refusedTooOften : .tooOften))
      case "mismatch": answers.append(.success(.idempotencyMismatch))
      // What of Redis' state could not be read, for the log.
      case "error":
        answers.append(.failure(StoreError(.unexpectedAnswer, "onsale_enqueue_many: \(words.rest())")))
      default: answers.append(.failure(Self.unexpectedJoin))
      }
    }
    while answers.count < count { answers.append(.failure(Self.unexpectedJoin)) }
    guard isOlderCopy else { return tell(answers) }
    // Ends by itself: one call with its deadline.
    Task { @LoopActor in
      do {
        try await markLost(event: event, generation: generation)
        tell(answers)
      } catch {
        tell(answers.map { if case .failure = $0 { .failure(error) } else { $0 } })
      }
    }
  }

  /// Reads an answer of words and numbers, in lines.
  private struct Words {
    private let text: [UInt8]
    private var at = 0

    init(_ text: [UInt8]) { self.text = text }

    /// The next word of this line; empty at its end.
    mutating func next() -> String {
      let start = at
      while at < text.count, text[at] > 0x20 { at += 1 }
      defer { if at < text.count, text[at] == 0x20 { at += 1 } }
      return String(decoding: text[start..<at], as: UTF8.self)
    }

    /// All that is left of this line.
    mutating func rest() -> String {
      let start = at
      while at < text.count, text[at] != 0x0A { at += 1 }
      return String(decoding: text[start..<at], as: UTF8.self)
    }

    /// The next number of this line; 0 at its end.
    mutating func number() -> Int {
      var value = 0
      while at < text.count, (48...57).contains(text[at]) {
        value = value &* 10 &+ Int(text[at] - 48)
        at += 1
      }
      if at < text.count, text[at] == 0x20 { at += 1 }
      return value
    }

    mutating func place(_ generation: Int) -> Place {
      let position = number(), line = number(), ordinal = number()
      return Place(
        position: position, generation: generation,
        wish: line > 0 ? WishPlace(line: line, ordinal: ordinal) : nil)
    }

    /// Goes on to the next line. False behind the last one.
    mutating func nextLine() -> Bool {
      while at < text.count, text[at] != 0x0A { at += 1 }
      at += 1
      return at < text.count
    }
  }
}
