import Redis

/// Who writes an event to the search index, and when: of any number of indexers one at a time, and not again for a
/// while. The keys end by themselves, so that nobody waits for one who died.
extension QueueStore {
  package enum RefreshClaim: Sendable, Equatable {
    /// The caller may write, and then says so by `endRefresh`.
    case granted
    /// Another is writing, or did a moment ago, and then this version; `nil` if none is known.
    case taken(version: Int?)
  }

  /// - Parameter milliseconds: how long the caller may take to write.
  package func claimRefresh(event: Int, milliseconds: UInt64) async throws -> RefreshClaim {
    let answer = try await redis.command([
      "SET", .text(EventKeys(event).refresh), "", "NX", "GET", "PX", .integer(Int(milliseconds)),
    ])
    return answer == .null ? .granted : .taken(version: answer.text.flatMap { Int($0) })
  }

  /// The event was written: nobody does so again for `milliseconds`.
  /// - Parameter version: of the document; `nil` where there is none.
  package func endRefresh(event: Int, version: Int?, milliseconds: UInt64) async throws {
    let text = version.map { String($0) } ?? ""
    _ = try await redis.command([
      "SET", .text(EventKeys(event).refresh), .text(text), "PX", .integer(Int(milliseconds)),
    ])
  }
}
