import Redis
import Sale

/// Where one user stands at all events.
extension QueueStore {
  /// Events that are looked at for one user, the ones made last: in Redis some microseconds each, one by one.
  package nonisolated static let eventsLookedAt = 2_000

  /// A user's place, as its id names it.
  package struct OwnPlace: Sendable, Equatable {
    package let event: Int
    package let place: Place

    package init(event: Int, place: Place) {
      self.event = event
      self.place = place
    }
  }

  /// All events that have a queue, the ones made last first. One round trip.
  package func liveEvents() async throws -> [Int] {
    let answers = try await redis.commands(Partition.all.map { ["SMEMBERS", .text($0.events)] })
    return answers.flatMap { ($0.array ?? []).map(Self.number) }.sorted(by: >)
  }

  /// The places of a user at these events that may still be open. Two round trips, however many events there are: one
  /// look at each, and one more where there is a place. It may have ended with everybody's meanwhile, which its line says.
  package func places(of userKey: String, events: some Collection<Int>) async throws -> [OwnPlace] {
    let entries = try await redis.commands(
      events.map { ["HGET", .text(EventKeys($0).user(userKey)), .text(userKey)] })
    let found = zip(events, entries).compactMap { event, entry -> Int? in
      guard let text = entry.text, let remembered = RememberedUser(key: userKey, entry: text),
        remembered.live > 0
      else { return nil }
      return event
    }
    let places = try await redis.commands(
      found.map { ["FCALL_RO", "onsale_place", "1", .text(EventKeys($0).meta), .text(userKey)] })
    return zip(found, places).compactMap { event, answer in
      let numbers = (answer.array ?? []).map(Self.number)
      guard numbers.count == 4, numbers[0] > 0 else { return nil }
      let wish = numbers[2] > 0 && numbers[3] > 0 ? WishPlace(line: numbers[2], ordinal: numbers[3]) : nil
      return OwnPlace(event: event, place: Place(position: numbers[0], generation: numbers[1], wish: wish))
    }
  }
}
