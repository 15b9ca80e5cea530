import Archive
import EventLoop
import HTTPCommon
import Queue
import Sale
import StoreCommon

/// Which places a user has, at whichever events: asked for by every page of everybody who is in line somewhere, so what was
/// found is kept for some seconds, in which where they stand is told from what is known of their lines.
@LoopActor
final class OwnPlaces {
  /// For so long a place that was got elsewhere may not be told.
  static let milliseconds: UInt64 = 4_000
  private static let usersKept = 20_000
  /// Users who are looked for at the same time; each is a command for each event, in Redis.
  static let lookingLimit = 256
  /// Of one user, the ones at the events made last.
  static let placesLimit = 50
  /// Users whose payments one statement looks for, and who wait for that.
  private static let batchLimit = 64

  struct Found: Sendable {
    let places: [QueueReader.OwnPlace]
    /// Whether there are certainly no others.
    let areAll: Bool
    fileprivate let foundAt: UInt64
  }

  private let watch: QueueWatch
  private let past: PastRequests
  private var known = RecentValues<String, Found>(capacity: OwnPlaces.usersKept)
  private var looking = 0
  private lazy var payments = GroupCommit<String, [QueueReader.OwnPlace]>(
    maximumBatch: Self.batchLimit, capacity: Self.lookingLimit
  ) { [unowned self] users in await readPayments(users) }
  private(set) lazy var names = FreshCache<Int, String>(
    freshMilliseconds: 60_000, capacity: QueueReader.eventsLookedAt
  ) { [past] event, _ in try await past.eventName(event) }

  init(watch: QueueWatch, past: PastRequests) {
    self.watch = watch
    self.past = past
  }

  /// What is known of a user's places. What cannot be asked now is left out, and told so.
  func find(_ user: String) async throws(Problem) -> Found {
    let now = EventLoop.shared.now
    if let found = known.value(of: user), now < found.foundAt + Self.milliseconds { return found }
    guard looking < Self.lookingLimit else { throw .overloaded }
    looking += 1
    defer { looking -= 1 }
    let payments = self.payments
    async let paying = try? payments.submit(user)
    let inLine = try? await watch.places(of: UserKey(user).text)
    let underWay = await paying
    // A payment goes on also where the line is gone, or is another one by now.
    let all = (inLine?.places ?? []) + (underWay ?? [])
    var places: [QueueReader.OwnPlace] = []
    for each in all
    where !places.contains(where: {
      ($0.event, $0.place.generation, $0.place.position)
        == (each.event, each.place.generation, each.place.position)
    }) {
      places.append(each)
    }
    let found = Found(
      places: Array(places.prefix(Self.placesLimit)),
      areAll: inLine?.areAll == true && underWay != nil && places.count <= Self.placesLimit, foundAt: now)
    // Who has nothing asks rarely, and may have got something a moment later; what was not to be had is asked for again.
    if inLine != nil, underWay != nil, !places.isEmpty { known.set(found, for: user) }
    return found
  }

  private func readPayments(_ users: [String]) async -> [Result<[QueueReader.OwnPlace], any Error>] {
    do {
      let paying = try await past.paying(users: users, limit: users.count * Self.placesLimit)
      let byUser = Dictionary(grouping: paying, by: \.user)
      return users.map { user in
        .success(
          (byUser[user] ?? []).map { paying in
            QueueReader.OwnPlace(
              event: paying.key.event,
              place: BuyersLine.Place(
                position: paying.key.position, generation: paying.key.generation, wish: paying.wish))
          })
      }
    } catch {
      return users.map { _ in .failure(error) }
    }
  }
}
