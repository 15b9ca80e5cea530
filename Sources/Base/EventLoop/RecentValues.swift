/// The values that were asked for or set last, at most `capacity` of them: two dictionaries, of which the older one goes
/// as a whole when the younger one has filled up, so that nothing is sorted or linked.
package struct RecentValues<Key: Hashable, Value> {
  @usableFromInline let half: Int
  @usableFromInline var young: [Key: Value] = [:]
  @usableFromInline var old: [Key: Value] = [:]

  /// - Parameter capacity: at least 2.
  package init(capacity: Int) { half = max(1, capacity / 2) }

  @inlinable package var count: Int { young.count + old.count }

  /// The value, which from now on is one of the younger ones.
  @inlinable package mutating func value(of key: Key) -> Value? {
    if let value = young[key] { return value }
    guard let value = old.removeValue(forKey: key) else { return nil }
    insert(value, for: key)
    return value
  }

  @inlinable package mutating func set(_ value: Value, for key: Key) {
    if !old.isEmpty { old[key] = nil }
    insert(value, for: key)
  }

  @inlinable package mutating func remove(_ key: Key) {
    young[key] = nil
    old[key] = nil
  }

  /// All of them, in no order.
  @inlinable package var all: [(key: Key, value: Value)] {
    young.map { ($0.key, $0.value) } + old.map { ($0.key, $0.value) }
  }

  @inlinable package mutating func removeAll() {
    young = [:]
    old = [:]
  }

  @usableFromInline mutating func insert(_ value: Value, for key: Key) {
    if young.count >= half, young[key] == nil {
      old = young
      young = [:]
    }
    young[key] = value
  }
}
