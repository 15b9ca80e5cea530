import Redis

/// For how long a line that Redis lost takes in only those who were in it.
///
/// It stays open to them while they still come: each who comes back keeps it open for a while from then on. All bounds
/// follow from the shortest, so that a test can have them short.
struct RejoinWindow: Equatable {
  /// Somebody who comes back now and then must not keep a sale from going on.
  static let longestOfShortest = 15
  static let longestMilliseconds = 1_800_000
  static let quietShare = 4

  /// So long in any case: everyone who is told to come back within that time has been heard.
  let shortestMilliseconds: Int
  /// And so long after the last one who came.
  let quietMilliseconds: Int
  /// But no longer than this.
  let longestMilliseconds: Int

  init(shortestMilliseconds: Int) {
    self.shortestMilliseconds = shortestMilliseconds
    quietMilliseconds = shortestMilliseconds / Self.quietShare
    longestMilliseconds = max(
      shortestMilliseconds, min(shortestMilliseconds * Self.longestOfShortest, Self.longestMilliseconds))
  }

  /// What `onsale_configure` takes.
  var arguments: [RedisArgument] {
    [.integer(shortestMilliseconds), .integer(quietMilliseconds), .integer(longestMilliseconds)]
  }
}
