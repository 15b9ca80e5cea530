/// How often each entry under way counts as delivered. Redis counts every worker that took it; here one does not count
/// that met an outage or was told to end, since it says nothing of the entry. What is left are workers that it killed, or
/// that failed with it. Pure.
struct DeliveryCounts {
  private struct Count {
    var delivered: Int
    var isExcused = false
  }

  private var counts: [String: Count] = [:]

  /// An entry was taken, for the `delivered`th time.
  mutating func note(_ id: String, _ delivered: Int) { counts[id] = Count(delivered: delivered) }

  /// This delivery has come to no harm.
  mutating func excuse(_ id: String) { counts[id]?.isExcused = true }

  /// It failed for reasons of its own.
  mutating func accuse(_ id: String) { counts[id]?.isExcused = false }

  mutating func forget(_ id: String) { counts[id] = nil }

  /// The entries by how often they count as delivered.
  func grouped(_ ids: [String]) -> [(deliveries: Int, ids: [String])] {
    Dictionary(grouping: ids) { id in
      let count = counts[id] ?? Count(delivered: 1)
      return max(0, count.delivered - (count.isExcused ? 1 : 0))
    }.map { ($0.key, $0.value) }
  }
}
