import Foundation

/// Finds, in the text of a Swift file, waits for a server that no fault point names.
///
/// A scan for brackets, not a parser: it knows comments and strings well enough for this package's sources.
struct SourceScan {
  /// Types whose calls go to Redis, PostgreSQL, the search index or the payment provider.
  static let serverTypes = [
    "QueueStore", "OwnedQueue", "BuyersLine", "QueueReader", "QueueLeases", "QueueNews",
    "PurchaseStore", "SeatStore", "EpochStore", "EventStore", "RefundStore", "QueueArchive",
    "PastRequests", "DeclineStore",
    "IndexSource", "UserStore", "PaymentProvider", "SearchIndex", "RedisClient", "PostgresClient",
    "HTTPClient", "WebhookStore",
  ]

  /// The file's text with comments blanked, at the same offsets.
  let text: [Character]

  init(_ source: String) {
    var text = Array(source)
    var index = 0
    while index + 1 < text.count {
      if text[index] == "/" && text[index + 1] == "/" {
        while index < text.count && text[index] != "\n" {
          text[index] = " "
          index += 1
        }
      } else {
        index += 1
      }
    }
    self.text = text
  }

  /// Names of properties and parameters that hold something of a server type.
  var serverNames: Set<String> {
    let types = Self.serverTypes.joined(separator: "|")
    guard let pattern = try? Regex("(\\w+): (?:any )?(?:\(types))\\b") else { return [] }
    return Set(String(text).matches(of: pattern).compactMap { $0.output[1].substring.map(String.init) })
  }

  /// Calls on one of `names`, or on a part of it, that are awaited outside of every `Faults.point`, as `line: call`.
  func unnamedWaits(on names: Set<String>) -> [String] {
    let source = String(text)
    guard !names.isEmpty,
      let pattern = try? Regex(
        "await\\s+!?(?:self\\.|stores\\.)?(?:\(names.sorted().joined(separator: "|")))\\??(?:\\.\\w+)+\\(")
    else { return [] }
    let faultPoints = faultPoints
    return source.matches(of: pattern).compactMap { match in
      let offset = source.distance(from: source.startIndex, to: match.range.lowerBound)
      if faultPoints.contains(where: { $0.contains(offset) }) { return nil }
      // For the connection alone, within a limit: nothing is under way whose outcome could be lost.
      if source[match.range].hasSuffix(".waitUntilReady(") { return nil }
      let line = text[..<offset].count { $0 == "\n" } + 1
      return "\(line): \(source[match.range].dropLast())"
    }
  }

  /// Where `Faults.point(…) { … }` stand, from the name to the end of the closure.
  private var faultPoints: [Range<Int>] {
    let name = Array("Faults.point(")
    var found: [Range<Int>] = []
    var index = 0
    while index + name.count <= text.count {
      guard Array(text[index..<index + name.count]) == name else {
        index += 1
        continue
      }
      var end = endOfBracket(at: index + name.count - 1)
      var next = end
      while next < text.count && text[next].isWhitespace { next += 1 }
      // With the closure among the arguments, a brace behind them begins something else, such as a loop's body.
      let hasClosure = text[index..<end].contains("{")
      if !hasClosure && next < text.count && text[next] == "{" { end = endOfBracket(at: next) }
      found.append(index..<end)
      index += name.count
    }
    return found
  }

  /// The offset after the bracket that closes the one at `start`.
  private func endOfBracket(at start: Int) -> Int {
    var depth = 0
    for index in start..<text.count {
      switch text[index] {
      case "(", "{", "[": depth += 1
      case ")", "}", "]":
        depth -= 1
        if depth == 0 { return index + 1 }
      default: break
      }
    }
    return text.count
  }
}
