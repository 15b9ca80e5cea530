import EventLoop
import Redis
import StoreCommon

/// How a queue whose sale is over leaves Redis, in batches of a bounded size. Keys are enumerated, never searched for.
extension QueueStore {
  /// Hashes deleted by one call.
  private static let removedAtOnce = 256

  /// The last head document of a queue whose event has closed and whose last hold has ended; `nil` before that.
  package func archivable(event: Int, epoch: Int) async throws -> QueueDocument? {
    let values = try await call("onsale_archivable", event, [.integer(epoch)])
    if values[0].text == "busy" { return nil }
    guard let document = QueueDocument(values: values.dropFirst().map { $0.text ?? "" }) else {
      throw StoreError(.unexpectedAnswer, "onsale_archivable")
    }
    return document
  }

  /// The records in these buckets as text; buckets without any are left out.
  package func export(event: Int, buckets: Range<Int>) async throws -> [RecordBucket] {
    let keys = EventKeys(event)
    let answers = try await pipelined(
      buckets.map { ["HGETALL", .text(keys.record($0 * Self.recordsPerBucket).key)] })
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
  package func remove(event: Int, epoch: Int, generation: Int, tail: Int) async throws {
    let records = (0...tail / Self.recordsPerBucket).map { "r:\($0)" }
    let users = Self.userAlphabet.flatMap { first in Self.userAlphabet.map { "\(first)\($0)" } }
    let names = records + users.map { "u:\($0)" } + users.map { "i:\($0)" }
    let fence: [RedisArgument] = [.integer(epoch), .integer(generation)]
    for start in stride(from: 0, to: names.count, by: Self.removedAtOnce) {
      try Task.checkCancellation()
      let batch = names[start..<min(start + Self.removedAtOnce, names.count)]
      _ = try await call("onsale_remove", event, fence + batch.map { .text($0) })
    }
    _ = try await call("onsale_leave", event, fence)
  }
}
