import Foundation
import Search

/// A query as somebody types it, with what is right: see judgements.tsv.
struct Judgement {
  let typed: String
  /// What every right answer has.
  private let needles: [String]
  /// Keys of the right answers among the demo's concerts.
  let keys: Set<String>

  static func all() throws -> [Judgement] {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("judgements.tsv")
    return try String(contentsOf: file, encoding: .utf8).split(separator: "\n").filter { !$0.hasPrefix("#") }
      .map { line in
        let parts = line.split(separator: "\t").map(String.init)
        return Judgement(
          typed: parts[0], needles: parts[1].components(separatedBy: "; "),
          keys: Set(parts[2].split(separator: " ").map(String.init)))
      }
  }

  /// Whether a concert is a right answer, by its own texts and not by any index.
  func isRight(_ concert: Text) -> Bool {
    needles.allSatisfy { needle in
      if needle.hasPrefix("at:") { return concert.location.contains(needle.dropFirst(3)) }
      if needle.hasPrefix("on:") { return concert.dates.contains { $0.hasPrefix(needle.dropFirst(3)) } }
      return concert.all.contains(needle)
    }
  }

  /// What a person reads of a concert, in small letters.
  struct Text {
    let location: String
    let all: String
    /// As in UTC, and as in America.
    let dates: [String]

    init(_ document: SearchDocument) {
      location = document.location.lowercased()
      all = "\(document.name) | \(document.location) | \(document.description)".lowercased()
      let formatter = ISO8601DateFormatter()
      dates = [0, 8 * 3_600].map {
        String(formatter.string(from: Date(timeIntervalSince1970: Double(document.date - $0))).prefix(10))
      }
    }
  }
}

/// How good the answers to judged queries are.
struct Quality {
  /// Of the right answers, as far as ten can be shown, how many are among the first ten; the mean over all queries.
  private(set) var recall = 0.0
  /// One over the place of the first right answer; the mean over all queries.
  private(set) var reciprocalRank = 0.0
  private(set) var queries = 0
  /// Queries whose answers are not all right.
  private(set) var imperfect: [String] = []

  mutating func add(_ typed: String, found: [Int], right: Set<Int>) {
    let first = found.prefix(10)
    let recall = Double(first.count { right.contains($0) }) / Double(min(10, right.count))
    let rank = first.firstIndex { right.contains($0) }.map { 1 / Double($0 + 1) } ?? 0
    queries += 1
    self.recall += (recall - self.recall) / Double(queries)
    reciprocalRank += (rank - reciprocalRank) / Double(queries)
    if recall < 1 { imperfect.append("\(typed) (\(Int((recall * 100).rounded())) %)") }
  }

  var text: String {
    func three(_ value: Double) -> String { String(format: "%.3f", value) }
    return "\(queries) queries, recall@10 \(three(recall)), MRR \(three(reciprocalRank))"
  }
}
