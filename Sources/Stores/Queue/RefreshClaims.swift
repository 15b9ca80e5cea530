package import EventLoop
import Redis
import Sale

/// Who writes an event to the search index, and when: of any number of indexers one at a time, and not again for a
/// while. Indexes at different places are written independently. The keys end by themselves, so that nobody waits for
/// one who died.
@LoopActor
package struct RefreshClaims {
  let store: QueueStore

  package enum Claim: Sendable, Equatable {
    /// The caller may write, and then says so by `end`.
    case granted
    /// Another is writing, or did a moment ago, and then this version; `nil` if none is known.
    case taken(version: Int?)
  }

  /// - Parameters:
  ///   - place: of the index, `SearchIndex.place`.
  ///   - token: the claim's own, unlike any other.
  ///   - milliseconds: how long the caller may take to write.
  ///   - longest: how long anybody keeps the others from writing. Who does so for longer has a claim of a clock that went
  ///     back since.
  package func claim(
    event: Int, place: String, token: String, milliseconds: UInt64,
    longest: Int = QueueLeases.longestMilliseconds
  ) async throws -> Claim {
    let key = RedisArgument.text(EventKeys(event).refresh(place))
    let claim: [RedisArgument] = [
      "SET", key, .text(Self.value(token)), "NX", "GET", "PX", .integer(Int(milliseconds)),
    ]
    var values = try await store.redis.commands([claim, ["PTTL", key]])
    if values[0] != .null, QueueStore.number(values[1]) > longest {
      // Redis's clock has gone back since: it would be in everybody's way for as long.
      values = try await store.redis.commands([["DEL", key], claim])
      values.removeFirst()
    }
    return values[0] == .null ? .granted : .taken(version: values[0].text.flatMap { Int($0) })
  }

  /// The event was written: nobody does so again for `milliseconds`. Changes nothing where the claim ended before
  /// and is another's by now.
  /// - Parameter version: of the document; `nil` where there is none.
  /// - Returns: whether the claim was still the caller's, or nobody's.
  @discardableResult
  package func end(
    event: Int, place: String, token: String, version: Int?, milliseconds: UInt64
  ) async throws -> Bool {
    let text = version.map { String($0) } ?? ""
    return try await store.redis.call(
      "onsale_end_refresh", keys: [EventKeys(event).refresh(place)],
      [.text(Self.value(token)), .text(text), .integer(Int(milliseconds))]
    ).integer == 1
  }

  /// Not a number, which is a version.
  private static func value(_ token: String) -> String { "by " + token }
}
