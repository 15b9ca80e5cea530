package import EventLoop
import Redis
package import Sale

/// Confirmations that failed too often: out of the way of the others, until an operator looks at them.
@LoopActor
package struct DeadLetters {
  let store: QueueStore

  /// Moves an entry that keeps failing out of the stream, for `onsale admin dead-letters`.
  package func bury(_ confirmation: Confirmation, reason: String) async throws {
    guard let id = confirmation.entryID else { return }
    let partition = Partition(of: confirmation.event)
    _ = try await store.redis.command(
      ["XADD", .text(partition.deadLetters), "MAXLEN", "~", "100000", "*"]
        + ConfirmationStream.entry(confirmation)
        + ["reason", .text(reason)])
    _ = try await store.redis.command(["XACK", .text(partition.confirmations), "workers", .text(id)])
    _ = try await store.redis.command(["XDEL", .text(partition.confirmations), .text(id)])
  }

  package func list(_ partition: Partition, limit: Int) async throws -> [(
    id: String, fields: [String: String]
  )] {
    let answer = try await store.redis.command([
      "XRANGE", .text(partition.deadLetters), "-", "+", "COUNT", .integer(limit),
    ])
    return (answer.array ?? []).compactMap { value in
      guard let parts = value.array, parts.count == 2, let id = parts[0].text, let fields = parts[1].array
      else { return nil }
      return (id, QueueStore.fields(fields))
    }
  }

  /// Puts a dead letter back into its stream. False if it is not there any more.
  package func requeue(_ partition: Partition, deadLetter id: String) async throws -> Bool {
    let answer = try await store.redis.command(["XRANGE", .text(partition.deadLetters), .text(id), .text(id)])
    guard let fields = answer.array?.first?.array?.last?.array else { return false }
    let kept = QueueStore.fields(fields).filter { $0.key != "reason" }
    _ = try await store.redis.command(
      ["XADD", .text(partition.confirmations), "*"] + kept.flatMap { [.text($0.key), .text($0.value)] })
    _ = try await store.redis.command(["XDEL", .text(partition.deadLetters), .text(id)])
    _ = try await store.redis.command(["PUBLISH", .text(partition.confirmWakes), ""])
    return true
  }
}
