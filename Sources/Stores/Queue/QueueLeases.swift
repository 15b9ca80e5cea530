package import EventLoop
import Redis
package import Sale
import StoreCommon

/// Which worker is alive, and which one owns a partition: a lease says who, and an epoch what Redis compares.
@LoopActor
package struct QueueLeases {
  let store: QueueStore

  /// No lease and no claim in Redis lasts longer. One that does is of a clock that has gone back since.
  package nonisolated static let longestMilliseconds = 60_000

  package func acquire(_ partition: Partition, worker: String, milliseconds: Int) async throws -> Bool {
    try await store.redis.call(
      "onsale_lease", keys: [partition.lease], [.text(worker), .integer(milliseconds)]
    ).integer == 1
  }

  package func release(_ partition: Partition, worker: String) async throws {
    _ = try await store.redis.call("onsale_release_lease", keys: [partition.lease], [.text(worker)])
  }

  /// Who holds each partition's lease, in the order of the partitions.
  package func holders() async throws -> [String?] {
    // A call for each: in a cluster partitions live on different nodes.
    var holders: [String?] = []
    for partition in Partition.all {
      let values = try await store.redis.commands([
        ["GET", .text(partition.lease)], ["PTTL", .text(partition.lease)],
      ])
      let isOfAnotherTime = QueueStore.number(values[1]) > Self.longestMilliseconds
      holders.append(isOfAnotherTime ? nil : values[0].text)
    }
    return holders
  }

  package func holder(_ partition: Partition) async throws -> String? {
    try await store.redis.command(["GET", .text(partition.lease)]).text
  }

  /// Makes `epoch` the partition's epoch in Redis. False when a newer owner did so already.
  package func own(_ partition: Partition, epoch: Int) async throws -> Bool {
    try await store.redis.call("onsale_own", keys: [partition.epoch], [.integer(epoch)]).integer == 1
  }

  /// The fencing number that Redis accepts; 0 before the first owner.
  package func epoch(_ partition: Partition) async throws -> Int {
    try await store.redis.command(["GET", .text(partition.epoch)]).text.flatMap { Int($0) } ?? 0
  }

  /// Says that `worker` is alive for a while. - Returns: the names of all that are, sorted.
  package func announce(_ worker: String, milliseconds: Int) async throws -> [String] {
    let answer = try await store.redis.call(
      "onsale_announce_worker", keys: [Partition.workers], [.text(worker), .integer(milliseconds)])
    return (answer.array ?? []).compactMap(\.text).sorted()
  }

  package func withdraw(_ worker: String) async throws {
    _ = try await store.redis.command(["ZREM", .text(Partition.workers), .text(worker)])
  }
}
