package import EventLoop
import Redis
package import Sale

/// What Redis tells systems outside. An entry stays until it is written down in PostgreSQL, and is written down twice
/// rather than not at all; what Redis loses with everything else is not told.
@LoopActor
package struct QueueNews {
  let store: QueueStore

  /// Of one partition.
  package static let atOnce = 500

  private static let group = "webhooks"

  /// Makes Redis keep news, or keep none and forget those that it has. Repeated, it changes nothing.
  package func listen(_ listens: Bool) async throws {
    let there = try await store.pipelined(Partition.all.map { ["EXISTS", .text($0.told)] })
    for (partition, value) in zip(Partition.all, there) where (value.integer == 1) != listens {
      if listens {
        // An empty stream is what functions look for; the group is of no use but for making one.
        _ = try? await store.redis.command([
          "XGROUP", "CREATE", .text(partition.told), .text(Self.group), "0", "MKSTREAM",
        ])
      } else {
        _ = try await store.redis.command(["DEL", .text(partition.told)])
      }
    }
  }

  /// The oldest news of these partitions, of each some hundred at most, in their order.
  package func oldest(_ partitions: some Collection<Partition>) async throws -> [WebhookNews] {
    let partitions = Array(partitions)
    let answers = try await store.pipelined(
      partitions.map { ["XRANGE", .text($0.told), "-", "+", "COUNT", .integer(Self.atOnce)] })
    return zip(partitions, answers).flatMap { partition, answer in
      (answer.array ?? []).map { entry in Self.news(entry, partition) }
    }
  }

  private static func news(_ entry: RedisValue, _ partition: Partition) -> WebhookNews {
    let parts = entry.array ?? []
    let fields = parts.count > 1 ? QueueStore.fields(parts[1].array ?? []) : [:]
    func integer(_ name: String) -> Int { fields[name].flatMap { Int($0) } ?? 0 }
    let type: WebhookType =
      switch fields["k"] {
      case "g": .holdGranted
      case "x": .holdExpired
      default: .eventSoldOut
      }
    let place = (fields["l"] ?? "").split(separator: ".").compactMap { Int($0) }
    return WebhookNews(
      id: parts.first?.text ?? "", partition: partition, type: type, event: integer("e"),
      generation: integer("g"),
      position: integer("p"), userKey: fields["u"] ?? "", user: fields["i"] ?? "",
      tickets: QueueStore.tickets(fields["t"] ?? ""),
      amount: integer("a"), deadline: fields["d"].flatMap { Int($0) },
      wish: place.count == 2 ? WishPlace(line: place[0], ordinal: place[1]) : nil, reason: fields["r"] ?? "",
      attempt: integer("n"))
  }

  /// Forgets news that are written down.
  package func forget(_ news: [WebhookNews]) async throws {
    let byPartition = Dictionary(grouping: news, by: \.partition)
    _ = try await store.pipelined(
      byPartition.map { partition, news in ["XDEL", .text(partition.told)] + news.map { .text($0.id) } })
  }

  /// How many news found no room.
  package func lost() async throws -> Int {
    let counts = try await store.pipelined(Partition.all.map { ["GET", .text($0.toldLost)] })
    return counts.reduce(0) { $0 + ($1.text.flatMap { Int($0) } ?? 0) }
  }
}
