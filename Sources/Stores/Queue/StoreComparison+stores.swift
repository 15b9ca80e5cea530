import EventLoop
import Redis
package import Sale
import StoreCommon

/// What both stores were when they were last compared with the provider's books (`ComparedStores`). It is in Redis alone: an
/// older copy of it names an older pair, and an empty Redis none, and both are right.
extension StoreComparison {
  private static let compared = "{workers}:compared"

  /// Which life of which server this is, and what it has noted.
  /// - Throws: also where another connection came in between, which may lead to another server.
  package func comparedStores() async throws -> (redis: String, noted: ComparedStores?) {
    let connection = store.redis.readySince
    let identity = try await store.reader.serverIdentity()
    let noted = try await store.redis.command(["GET", .text(Self.compared)]).text
    try mustBe(connection)
    return (identity, noted.flatMap(ComparedStores.init(encoded:)))
  }

  /// - Parameter connection: `RedisClient.readySince` of before all that was written for it to be true.
  package func note(compared stores: ComparedStores, connection: UInt64) async throws {
    try mustBe(connection)
    _ = try await store.redis.command(["SET", .text(Self.compared), .text(stores.encoded)])
  }

  private func mustBe(_ connection: UInt64) throws {
    if !store.redis.isReady || store.redis.readySince != connection {
      throw StoreError(.conflict, "another connection to Redis")
    }
  }

  /// Lets another worker compare at once.
  package func releaseBooks(worker: String) async throws {
    _ = try await store.redis.call(
      "onsale_release_lease", keys: [Partition.bookkeeper], [.text(worker)])
  }
}
