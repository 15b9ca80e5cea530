/// A statement whose interpolations become bind parameters, so that the way that reads best is the safe one.
///
///     try await postgres.query("SELECT name FROM event WHERE id = \(id)")
///
/// Parameters are sent in text format and untyped: PostgreSQL infers their types from where they stand, which
/// for arrays, and wherever it cannot, takes a cast such as `\(ids)::bigint[]`.
package struct SQL: Sendable, ExpressibleByStringInterpolation, CustomStringConvertible {
  /// The statement with `$1`, `$2`, … for its parameters. Equal texts share a prepared statement.
  package let text: String
  /// The parameters in text format; `nil` is NULL.
  let parameters: [String?]
  /// The text around the parameters, one piece more than there are parameters; for nesting.
  private let pieces: [String]

  /// PostgreSQL's text cannot hold a zero byte, and libpq would cut a parameter there.
  var hasZeroByte: Bool { parameters.contains { $0?.utf8.contains(0) ?? false } }

  /// Whether it only reads, by its first word: repeating it does no harm.
  var isRead: Bool {
    let word = text.drop { $0.isWhitespace }.prefix(6)
    return word.lowercased() == "select"
  }

  package init(stringLiteral value: String) {
    text = value
    parameters = []
    pieces = [value]
  }

  package init(stringInterpolation: StringInterpolation) {
    self.init(pieces: stringInterpolation.pieces, parameters: stringInterpolation.parameters)
  }

  private init(pieces: [String], parameters: [String?]) {
    var text = pieces[0]
    for index in parameters.indices { text += "$\(index + 1)\(pieces[index + 1])" }
    self.text = text
    self.parameters = parameters
    self.pieces = pieces
  }

  /// The text only: parameters may be personal.
  package var description: String { text }

  package struct StringInterpolation: StringInterpolationProtocol {
    fileprivate var pieces: [String] = [""]
    fileprivate var parameters: [String?] = []

    package init(literalCapacity: Int, interpolationCount: Int) {
      parameters.reserveCapacity(interpolationCount)
      pieces.reserveCapacity(interpolationCount + 1)
    }

    package mutating func appendLiteral(_ literal: String) { pieces[pieces.count - 1] += literal }

    private mutating func append(_ parameter: String?) {
      parameters.append(parameter)
      pieces.append("")
    }

    package mutating func appendInterpolation(_ value: Int) { append(String(value)) }
    package mutating func appendInterpolation(_ value: Int?) { append(value.map { String($0) }) }
    package mutating func appendInterpolation(_ value: String) { append(value) }
    package mutating func appendInterpolation(_ value: String?) { append(value) }
    package mutating func appendInterpolation(_ value: Double) { append(String(value)) }
    package mutating func appendInterpolation(_ value: Double?) { append(value.map { String($0) }) }
    package mutating func appendInterpolation(_ value: Bool) { append(value ? "t" : "f") }
    package mutating func appendInterpolation(_ value: Bool?) { append(value.map { $0 ? "t" : "f" }) }
    package mutating func appendInterpolation(_ values: [Int]) { append(SQLArray.literal(values)) }
    package mutating func appendInterpolation(_ values: [String]) { append(SQLArray.literal(values)) }
    package mutating func appendInterpolation(_ values: [Int?]) {
      append(SQLArray.literal(values.map { $0.map { String($0) } }))
    }
    package mutating func appendInterpolation(_ values: [String?]) { append(SQLArray.literal(values)) }

    /// Another statement's text and parameters in this place.
    package mutating func appendInterpolation(_ other: SQL) {
      pieces[pieces.count - 1] += other.pieces[0]
      pieces += other.pieces.dropFirst()
      parameters += other.parameters
    }

    /// Text that becomes part of the statement as it is. Never for anything that came from outside.
    package mutating func appendInterpolation(unsafeSQL text: String) { appendLiteral(text) }
  }
}

/// PostgreSQL's text format of arrays.
enum SQLArray {
  static func literal(_ values: [Int]) -> String {
    var text = "{"
    for value in values {
      if text.utf8.count > 1 { text += "," }
      text += String(value)
    }
    return text + "}"
  }

  /// Every element is quoted, so that commas, braces, `NULL`, blanks and empty strings stay what they are.
  static func literal(_ values: some Sequence<String?>) -> String {
    var bytes: [UInt8] = [UInt8(ascii: "{")]
    for value in values {
      if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
      guard let value else {
        bytes += "NULL".utf8
        continue
      }
      bytes.append(UInt8(ascii: "\""))
      for byte in value.utf8 {
        if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { bytes.append(UInt8(ascii: "\\")) }
        bytes.append(byte)
      }
      bytes.append(UInt8(ascii: "\""))
    }
    bytes.append(UInt8(ascii: "}"))
    return String(decoding: bytes, as: UTF8.self)
  }

  static func literal(_ values: [String]) -> String { literal(values.lazy.map { Optional($0) }) }

  /// Parses a one-dimensional array. `nil` if it is not one.
  static func elements(of text: String) -> [String?]? {
    let bytes = Array(text.utf8)
    guard bytes.first == UInt8(ascii: "{"), bytes.last == UInt8(ascii: "}") else { return nil }
    var elements: [String?] = []
    var index = 1
    let end = bytes.count - 1
    while index < end {
      var element: [UInt8] = []
      let isQuoted = bytes[index] == UInt8(ascii: "\"")
      if isQuoted {
        index += 1
        while index < end, bytes[index] != UInt8(ascii: "\"") {
          if bytes[index] == UInt8(ascii: "\\") { index += 1 }
          element.append(bytes[index])
          index += 1
        }
        index += 1
      } else {
        while index < end, bytes[index] != UInt8(ascii: ",") {
          if bytes[index] == UInt8(ascii: "{") { return nil }
          element.append(bytes[index])
          index += 1
        }
      }
      let text = String(decoding: element, as: UTF8.self)
      elements.append(!isQuoted && text == "NULL" ? nil : text)
      if index < end {
        guard bytes[index] == UInt8(ascii: ",") else { return nil }
        index += 1
      }
    }
    return elements
  }
}
