package import EventLoop
package import HTTPServer

/// The items of a request's query, each asked for with its type and limits. An empty item counts as missing.
///
/// Items that nobody asks for are refused, as members of a body are. Pages take them: whoever links to a page adds some.
@LoopActor
package struct QueryItems {
  private let items: [(name: String, value: String)]

  /// - Parameter known: the names of all items that there may be.
  /// - Throws: 400 that names all others.
  package init(_ request: HTTPRequest, only known: Set<String>) throws(Problem) {
    items = request.queryItems
    try Self.refuseAllBut(known, items)
  }

  /// What a page was asked for, with whatever else stands in its address.
  package init(ofPage items: [(name: String, value: String)]) { self.items = items }

  package nonisolated static func refuseAllBut(
    _ known: Set<String>, _ items: [(name: String, value: String)]
  ) throws(Problem) {
    if items.isEmpty { return }
    try UnknownNames.refuse(items.lazy.map(\.name), known) { ($0, .query($0)) }
  }

  private func value(_ name: String) -> String? {
    items.first { $0.name == name }.flatMap { $0.value.isEmpty ? nil : $0.value }
  }

  package func optionalString(_ name: String, max: Int) throws(Problem) -> String? {
    guard let text = value(name) else { return nil }
    guard text.utf8.count <= max else { throw .invalidItem(name, "must have at most \(max) bytes") }
    guard text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f }) else {
      throw .invalidItem(name, "must not contain control characters")
    }
    return text
  }

  package func optionalInt(_ name: String, in range: ClosedRange<Int>) throws(Problem) -> Int? {
    guard let text = value(name) else { return nil }
    guard let number = Int(text) else { throw .invalidItem(name, "must be an integer") }
    guard range.contains(number) else {
      throw .invalidItem(name, "must be from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  package func optionalBool(_ name: String) throws(Problem) -> Bool? {
    switch value(name)?.lowercased() {
    case nil: nil
    case "true", "1": true
    case "false", "0": false
    default: throw .invalidItem(name, "must be true or false")
    }
  }

  /// A moment, or a day.
  package enum Day: Equatable, Sendable {
    /// Seconds since 1970.
    case moment(Int)
    /// Its beginning, counted as if it were in UTC: of whose clocks, is not said.
    case date(Int)
  }

  package func optionalDay(_ name: String) throws(Problem) -> Day? {
    guard let text = value(name) else { return nil }
    if let date = Time.parseDate(text) { return .date(date) }
    guard let seconds = Time.parse(text) ?? Self.timeWithPlus(text) else {
      throw .invalidItem(name, "must be a time such as 2026-05-01T19:30:00Z or a date such as 2026-05-01")
    }
    return .moment(seconds)
  }

  /// In a query a plus sign that was not encoded arrives as a blank.
  private static func timeWithPlus(_ text: String) -> Int? {
    guard let blank = text.lastIndex(of: " ") else { return nil }
    return Time.parse("\(text[..<blank])+\(text[text.index(after: blank)...])")
  }
}

extension HTTPRequest {
  /// The route's `{id}` as the number of an event.
  /// - Throws: 404, since there is no event of any other name.
  package func eventID() throws(Problem) -> Int {
    guard let text = parameters["id"], text.utf8.count <= 18,
      text.utf8.allSatisfy({ (48...57).contains($0) }),
      let id = Int(text), id > 0
    else { throw .unknownEvent }
    return id
  }
}
