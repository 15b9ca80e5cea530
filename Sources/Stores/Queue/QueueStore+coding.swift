import Redis

/// How values stand in Redis, for all that read and write them.
extension QueueStore {
  /// Positions that share one hash of records.
  package static let recordsPerBucket = 100
  /// Users are spread over this many hashes, by the first two characters of their keys.
  package static let userBuckets = userAlphabet.count * userAlphabet.count
  static let userAlphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

  /// Text for a record: neither the records' own separators nor that of their archive.
  static func field(_ text: String) -> String {
    text.replacing("|", with: " ").replacing("\n", with: " ").replacing("@", with: " ")
  }

  static func fields(_ list: [RedisValue]) -> [String: String] {
    var fields: [String: String] = [:]
    for index in stride(from: 0, to: list.count - 1, by: 2) {
      if let name = list[index].text { fields[name] = list[index + 1].text ?? "" }
    }
    return fields
  }

  static func number(_ value: RedisValue) -> Int {
    value.integer ?? value.text.flatMap { Int($0) } ?? 0
  }

  nonisolated static func tickets(_ text: String) -> [Int] {
    text.split(separator: ",").compactMap { Int($0) }
  }

  nonisolated static func text(_ tickets: [Int]) -> String {
    tickets.map(String.init).joined(separator: ",")
  }
}
