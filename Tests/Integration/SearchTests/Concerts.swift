import Foundation
import JSON
import Sale
import Search

/// Real concerts, for judging what is found.
enum Concerts {
  private static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().appendingPathComponent("../../..").standardized

  /// Those that come with the project: 300.
  static func demo() throws -> [SearchDocument] {
    let text = try String(
      contentsOf: root.appendingPathComponent("deploy/demo/concerts.jsonl"), encoding: .utf8)
    let formatter = ISO8601DateFormatter()
    return try text.split(separator: "\n").enumerated().map { number, line in
      let concert = try JSON(parsing: String(line))
      let date = concert["date"]?.string.flatMap { formatter.date(from: $0) }
      return SearchDocument(
        id: number + 1, name: concert["name"]?.string ?? "", location: concert["location"]?.string ?? "",
        date: Int(date?.timeIntervalSince1970 ?? 0), description: concert["description"]?.string ?? "",
        currency: "USD", minPrice: 1_000, maxPrice: 9_000, available: 100, held: 0,
        zone: concert["time_zone"]?.string.flatMap { VenueZone($0) } ?? .utc, onsaleState: "open", version: 1)
    }
  }

  /// The keys of `demo()`, in its order.
  static func demoKeys() throws -> [String] {
    let text = try String(
      contentsOf: root.appendingPathComponent("deploy/demo/concerts.jsonl"), encoding: .utf8)
    return try text.split(separator: "\n").map { try JSON(parsing: String($0))["key"]?.string ?? "" }
  }

  /// The whole collection, beside the project where there is one: 18,000. Uncompressed by gzip.
  static let collection: String? = {
    let path =
      ProcessInfo.processInfo.environment["ONSALE_TEST_CONCERTS"]
      ?? root.appendingPathComponent("../shared/data/concerts.jsonl.gz").standardized.path
    return FileManager.default.fileExists(atPath: path) ? path : nil
  }()

  static func all() throws -> [SearchDocument] {
    guard let collection else { return [] }
    let process = Process()
    let pipe = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/gzip")
    process.arguments = ["-dc", collection]
    process.standardOutput = pipe
    try process.run()
    let bytes = [UInt8](pipe.fileHandleForReading.readDataToEndOfFile())
    process.waitUntilExit()
    return try bytes.split(separator: UInt8(ascii: "\n")).enumerated().map { number, line in
      let concert = try JSON(parsing: Array(line))
      func list(_ name: String) -> String {
        (concert[name]?.array ?? []).compactMap(\.string).joined(separator: "; ")
      }
      let description = ["works", "composers", "conductors", "soloists"].map(list).joined(separator: ". ")
      let place = [concert["venue"]?.string, concert["city"]?.string].compactMap { $0 }
      return SearchDocument(
        id: number + 1, name: concert["name"]?.string ?? "", location: place.joined(separator: ", "),
        date: number * 86_400, description: description, currency: "USD", minPrice: 1_000 + number % 50 * 100,
        maxPrice: 9_000, available: number % 10, held: 0, onsaleState: "open", version: 1)
    }
  }
}
