import EventLoop
import Redis
package import Sale
import StoreCommon

/// How those come back who were in a line that Redis lost: a million of them at once, perhaps, so one call takes in what
/// one turn of the loop brought, and those who come while it is under way share the next.
extension BuyersLine {
  /// In one call: a millisecond of Redis.
  static let returnsAtOnce = 128

  static let returnsWaiting = 10_000

  /// Somebody who was in line.
  struct Returning: Sendable {
    let event: Int
    let generation: Int
    let place: Int
    let userKey: String
    let user: String
    let quantity: Int
    let payload: String
  }

  /// Gives a user the place back that they had in a life of the line that was lost.
  ///
  /// No `Idempotency-Key` is looked at: the place itself says that it is the same wish.
  /// - Parameters:
  ///   - generation: the life that is being restored, as PostgreSQL knows it.
  ///   - place: where they were, which must be known to count (`LostLines`).
  /// - Returns: `nil` where they do not come in this way: the line is restored, has ended, or the place is somebody's.
  ///   Then `enqueue` says what is to be said. `restoring` where Redis has another life than this.
  package func rejoin(
    event: Int, generation: Int, place: Int, user: String, seats: RequestedSeats, method: String?,
    client: String = "", maxAmount: Int? = nil
  ) async throws -> EnqueueAnswer? {
    try await store.returns.submit(
      Returning(
        event: event, generation: generation, place: place, userKey: UserKey(user).text, user: user,
        quantity: seats.quantity, payload: Self.payload(seats, method, client, maxAmount)))
  }

  func takeIn(_ batch: [Returning]) async -> [Result<EnqueueAnswer?, any Error>] {
    struct Line: Hashable {
      let event: Int
      let generation: Int
    }
    var answers = [Result<EnqueueAnswer?, any Error>](
      repeating: .failure(StoreError(.unexpectedAnswer, "onsale_rejoin")), count: batch.count)
    let lines = Dictionary(grouping: batch.indices) {
      Line(event: batch[$0].event, generation: batch[$0].generation)
    }
    for (line, indices) in lines {
      do {
        let words = try await takeIn(
          indices.map { batch[$0] }, event: line.event, generation: line.generation)
        for (index, word) in zip(indices, words) { answers[index] = .success(word) }
      } catch {
        for index in indices { answers[index] = .failure(error) }
      }
    }
    return answers
  }

  private func takeIn(_ all: [Returning], event: Int, generation: Int) async throws -> [EnqueueAnswer?] {
    var arguments: [RedisArgument] = [.integer(generation)]
    arguments.reserveCapacity(1 + all.count * 5)
    for one in all {
      arguments += [
        .text(one.userKey), .integer(one.quantity), .text(one.payload), .text(one.user), .integer(one.place),
      ]
    }
    let values = try await store.call("onsale_rejoin", event, arguments)
    switch values[0].text {
    case "over": return all.map { _ in nil }
    // No owner has begun the life that Redis has: who was where in the one before is not known yet.
    case "moved": return all.map { _ in .restoring(milliseconds: Self.soonMilliseconds) }
    default: break
    }
    guard values.count == all.count + 1 else { throw StoreError(.unexpectedAnswer, "onsale_rejoin") }
    return try zip(all, values.dropFirst()).map { one, value in
      let words = (value.text ?? "").split(separator: " ")
      func integer(_ index: Int) -> Int { words.count > index ? Int(words[index]) ?? 0 : 0 }
      func returned(_ position: Int, line: Int, ordinal: Int) -> Place {
        Place(
          position: position, generation: generation,
          wish: line > 0 ? WishPlace(line: line, ordinal: ordinal) : nil)
      }
      switch words.first {
      // Nobody is decided before the line is there again. Nobody knows how many of the same wish stand before them, but
      // not more than in all.
      case "rejoined":
        return .inLine(returned(one.place, line: integer(1), ordinal: one.place), head: 0, isNew: true)
      case "again":
        return .inLine(
          returned(integer(1), line: integer(2), ordinal: integer(3)), head: 0, isNew: false)
      case "limit": return .limitExceeded(owned: integer(1), limit: integer(2))
      case "too_often": return .tooOften
      case "full": return .queueFull
      // Like everyone who was not in line.
      case "taken": return nil
      default: throw StoreError(.unexpectedAnswer, "onsale_rejoin")
      }
    }
  }

  /// When whoever cannot be told yet whether their place counts should ask again.
  package static let soonMilliseconds = 1_500
}
