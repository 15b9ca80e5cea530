/// What Redis and PostgreSQL were when what they know as sold was last compared with the payment provider's books. Pure.
///
/// Each of the two holds the other to what was sold: either may come back older, and what it has lost is not sold again.
/// If both come back older, only the provider knows. Neither can be older while it is the process that it was: so nobody
/// has to ask the provider unless both are others than they were.
package struct ComparedStores: Sendable, Equatable {
  /// One life of a Redis server. Another one after every start, whatever it lost.
  package let redis: String
  /// Which server, history and database PostgreSQL is.
  package let database: String
  /// When that server was started, in its own words. Another after every start, whatever it lost.
  package let started: String

  package init(redis: String, database: String, started: String) {
    self.redis = redis
    self.database = database
    self.started = started
  }

  /// As it is kept in Redis.
  package var encoded: String { "\(redis) \(started) \(database)" }

  package init?(encoded: String) {
    let parts = encoded.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 3, !parts.contains("") else { return nil }
    self.init(redis: parts[0], database: parts[2], started: parts[1])
  }

  /// Whether PostgreSQL is the very process that it was.
  package func isSameDatabase(as other: ComparedStores) -> Bool {
    database == other.database && started == other.started
  }

  /// Whether one of the stores certainly knows all that was sold, so that what the other has lost is not sold again.
  /// - Parameters:
  ///   - noted: by Redis, which may have it from an earlier life; `nil` if it knows of no comparison.
  ///   - remembered: of an earlier note, by this process.
  package func isCertain(noted: ComparedStores?, remembered: ComparedStores?) -> Bool {
    if let noted, noted.redis == redis || isSameDatabase(as: noted) { return true }
    // What Redis was then says nothing: it may have been flushed since, which is no other life.
    return remembered.map(isSameDatabase) ?? false
  }
}
