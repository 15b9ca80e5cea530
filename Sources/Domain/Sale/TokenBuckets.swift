/// How much of something each key may still do: a bucket of `burst` tokens each, in which one that was taken is there again
/// after `interval`. Who has used all gets slower, one each `interval`, and is never kept out for longer than that.
///
/// Of each key only the moment is kept at which its bucket is full again (the generic cell rate algorithm), and only as long
/// as it is not. Bounded by two generations of at most `capacity` keys: when the young one is full, or as old as the longest
/// moment that it may hold, it becomes the old one, and the former old one is dropped.
package struct TokenBuckets<Key: Hashable & Sendable>: Sendable {
  package let burst: Int
  /// Milliseconds.
  package let interval: Int
  private let capacity: Int
  private var young: [Key: Int] = [:]
  private var old: [Key: Int] = [:]
  private var youngSince = 0

  package init(burst: Int, interval: Int, capacity: Int) {
    precondition(burst > 0 && interval > 0 && capacity > 0)
    self.burst = burst
    self.interval = interval
    self.capacity = capacity
  }

  /// So many in an hour, all at once if need be.
  package init(anHour: Int, capacity: Int) {
    self.init(burst: anHour, interval: max(1, 3_600_000 / anHour), capacity: capacity)
  }

  /// - Parameter now: milliseconds, here as everywhere, on any clock that only goes forward.
  /// - Returns: milliseconds until the key may take a token; 0 if it may now.
  package func wait(_ key: Key, now: Int) -> Int {
    guard let full = young[key] ?? old[key] else { return 0 }
    return max(0, full - now - (burst - 1) * interval)
  }

  /// Takes a token, be there one or not: a bucket is never emptier than empty.
  /// - Parameter past: for so many milliseconds it is taken already.
  package mutating func take(_ key: Key, now: Int, past: Int = 0) {
    age(now: now)
    let taken = now - past
    let full = max(young[key] ?? old[key] ?? taken, taken) + interval
    guard full > now else { return }
    young[key] = min(full, now + burst * interval)
  }

  /// Puts one back that was taken for nothing.
  package mutating func giveBack(_ key: Key, now: Int) {
    guard let full = young[key] ?? old[key] else { return }
    old[key] = nil
    young[key] = full - interval > now ? full - interval : nil
  }

  /// The bucket is full.
  package mutating func fill(_ key: Key) {
    young[key] = nil
    old[key] = nil
  }

  private mutating func age(now: Int) {
    let life = burst * interval
    guard now - youngSince >= life || young.count >= capacity else { return }
    old = now - youngSince >= 2 * life ? [:] : young
    young = [:]
    youngSince = now
  }
}
