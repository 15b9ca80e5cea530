/// How often each key came in the last one to two windows of `seconds`.
///
/// Bounded by two generations of at most `capacity` keys: when the young one is full, or a window old, it becomes the old
/// one, and the former old one is dropped. Nothing is searched for victims.
struct RecentCounts<Key: Hashable> {
  let seconds: Int
  let capacity: Int

  private var young: [Key: Int] = [:]
  private var old: [Key: Int] = [:]
  private var youngSince = 0

  init(seconds: Int, capacity: Int) {
    self.seconds = seconds
    self.capacity = capacity
  }

  /// - Parameter now: seconds, on any clock that only goes forward.
  mutating func age(now: Int) {
    guard now - youngSince >= seconds || young.count >= capacity else { return }
    old = now - youngSince >= 2 * seconds ? [:] : young
    young = [:]
    youngSince = now
  }

  subscript(key: Key) -> Int { (young[key] ?? 0) + (old[key] ?? 0) }

  mutating func add(_ key: Key) { young[key, default: 0] += 1 }

  /// Takes one back that was added lately.
  mutating func remove(_ key: Key) {
    if let count = young[key] { young[key] = count > 1 ? count - 1 : nil }
  }

  mutating func forget(_ key: Key) {
    young[key] = nil
    old[key] = nil
  }
}
