import EventLoop
import Redis
import StoreCommon

/// How a queue whose sale is over, or whose line is lost, leaves Redis, in batches of a bounded size. Keys are enumerated,
/// never searched for.
extension OwnedQueue {
  /// Hashes deleted by one call.
  private static let removedAtOnce = 256

  /// The last head document of a queue whose event has closed and whose last hold has ended; `nil` before that.
  package func archivable() async throws -> QueueDocument? {
    let values = try await store.call("onsale_archivable", event, [.integer(epoch)])
    if values[0].text == "busy" { return nil }
    guard let document = QueueDocument(values: values.dropFirst().map { $0.text ?? "" }) else {
      throw StoreError(.unexpectedAnswer, "onsale_archivable")
    }
    return document
  }

  /// The records in these buckets as text; buckets without any are left out.
  package func export(buckets: Range<Int>) async throws -> [RecordBucket] {
    let keys = EventKeys(event)
    let answers = try await store.pipelined(
      buckets.map { ["HGETALL", .text(keys.record($0 * QueueStore.recordsPerBucket).key)] })
    return zip(buckets, answers).compactMap { bucket, answer in
      let fields = answer.array ?? []
      if fields.isEmpty { return nil }
      let lines = stride(from: 0, to: fields.count - 1, by: 2).map { index in
        "\(fields[index].text ?? "")=\(fields[index + 1].text ?? "")"
      }
      return RecordBucket(number: bucket, records: lines.joined(separator: "\n"))
    }
  }

  /// Deletes everything of the event's queue; last of all, and all at once, what says that it is there. Killed in
  /// between, it is called again.
  package func remove(generation: Int, tail: Int) async throws {
    let records = (0...tail / QueueStore.recordsPerBucket).map { "r:\($0)" }
    let users = QueueStore.userAlphabet.flatMap { first in QueueStore.userAlphabet.map { "\(first)\($0)" } }
    let names = records + users.map { "u:\($0)" } + users.map { "i:\($0)" }
    let owner: [RedisArgument] = [.integer(epoch), .integer(generation)]
    for start in stride(from: 0, to: names.count, by: Self.removedAtOnce) {
      try Task.checkCancellation()
      let batch = names[start..<min(start + Self.removedAtOnce, names.count)]
      _ = try await store.call("onsale_remove", event, owner + batch.map { .text($0) })
    }
    _ = try await store.call("onsale_leave", event, owner)
  }

  /// Ends a queue that is an older copy of itself: at once for everybody, and then lets go of its seats in steps, one a
  /// call. Harmless to repeat, and where it was made anew since.
  /// - Returns: whether it still has seats to let go of: the owner calls again before it removes what is left.
  @discardableResult
  package func markLost(generation: Int) async throws -> Bool {
    let values = try await store.call("onsale_forsake", event, [.integer(generation), fence])
    return values.count > 1 && values[1].integer == 1
  }
}
