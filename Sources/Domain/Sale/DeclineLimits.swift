/// How many cards that are refused somebody may try: whoever tests stolen ones finds a slower place, and an honest buyer
/// whose card is refused two or three times notices nothing.
///
/// Refused cards count for their account, for the address that they come from, and for their event. Of an event where very
/// many are refused nobody is kept away, as that would be for those who test cards to bring about: there each account may
/// try fewer.
package struct DeclineLimits: Sendable {
  /// In an hour; 0 is no limit.
  package struct Settings: Sendable {
    package var perUser = 15
    package var perClient = 300
    /// Beyond it `perUserWhenMany` counts at this event.
    package var perEvent = 1_000

    package init() {}
  }

  package static let allowedPerHour = 0...1_000_000
  package static let perUserWhenMany = 4
  /// For so long a refused card counts, in seconds.
  package static let seconds = 3_600
  /// Users, clients and events that are counted, of each.
  private static let capacity = 100_000

  private var users: TokenBuckets<String>?
  private var usersWhenMany: TokenBuckets<String>?
  private var clients: TokenBuckets<String>?
  private var events: TokenBuckets<Int>?

  package init(_ settings: Settings = Settings()) {
    func buckets<Key>(_ limit: Int) -> TokenBuckets<Key>? {
      limit > 0 ? TokenBuckets(anHour: limit, capacity: Self.capacity) : nil
    }
    users = buckets(settings.perUser)
    clients = buckets(settings.perClient)
    events = buckets(settings.perEvent)
    let few = settings.perUser > 0 ? min(settings.perUser, Self.perUserWhenMany) : Self.perUserWhenMany
    usersWhenMany = settings.perEvent > 0 ? buckets(few) : nil
  }

  /// A card was refused.
  /// - Parameters:
  ///   - client: where its buyer came from, if that is known.
  ///   - now: milliseconds, on any clock that only goes forward.
  ///   - past: milliseconds since then.
  package mutating func note(user: String, client: String?, event: Int, now: Int, past: Int = 0) {
    users?.take(user, now: now, past: past)
    usersWhenMany?.take(user, now: now, past: past)
    if let client { clients?.take(client, now: now, past: past) }
    events?.take(event, now: now, past: past)
  }

  /// - Returns: milliseconds until the next card may be tried; 0 if one may now.
  package func wait(user: String, client: String, event: Int, now: Int) -> Int {
    var wait = max(users?.wait(user, now: now) ?? 0, clients?.wait(client, now: now) ?? 0)
    if let events, let usersWhenMany, events.wait(event, now: now) > 0 {
      wait = max(wait, usersWhenMany.wait(user, now: now))
    }
    return wait
  }
}
