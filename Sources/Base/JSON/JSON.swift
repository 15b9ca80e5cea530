import CRapidJSON

/// A JSON value. Objects keep the order of their members, so that output is stable.
package enum JSON: Sendable, Equatable {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([(name: String, value: JSON)])

  package static func == (a: JSON, b: JSON) -> Bool {
    switch (a, b) {
    case (.null, .null): true
    case (.bool(let a), .bool(let b)): a == b
    case (.integer(let a), .integer(let b)): a == b
    case (.number(let a), .number(let b)): a == b
    case (.string(let a), .string(let b)): a == b
    case (.array(let a), .array(let b)): a == b
    case (.object(let a), .object(let b)):
      a.count == b.count && a.allSatisfy { member in b.contains { $0 == member } }
    default: false
    }
  }

  /// The member `name` of an object; `nil` if this is not an object or has no such member.
  package subscript(name: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }

  package subscript(index: Int) -> JSON? {
    guard case .array(let elements) = self, elements.indices.contains(index) else { return nil }
    return elements[index]
  }

  package var string: String? { if case .string(let value) = self { value } else { nil } }
  package var integer: Int? { if case .integer(let value) = self { value } else { nil } }
  package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  package var array: [JSON]? { if case .array(let value) = self { value } else { nil } }
  package var members: [(name: String, value: JSON)]? {
    if case .object(let value) = self { value } else { nil }
  }
  /// Any number, whole or not.
  package var double: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }

  /// What kind of value this is, in words for an error message.
  package var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .integer: "an integer"
    case .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}

/// Text that is not JSON.
package struct JSONParseError: Error, CustomStringConvertible {
  /// What is wrong, with the line and column.
  package let description: String
}

extension JSON {
  /// Nesting deeper than this is refused, so that hostile input cannot exhaust the stack.
  package static let maximumDepth = 64

  /// Parses UTF-8 text. Two members of one name, invalid UTF-8, `\u0000`, integers beyond 64 bits, numbers beyond
  /// a double and nesting beyond `maximumDepth` are errors.
  package init(parsing text: [UInt8]) throws(JSONParseError) {
    let read = text.withUnsafeBytes { bytes -> (json: JSON?, error: String, offset: Int) in
      let document = json_read(bytes.baseAddress, bytes.count, UInt32(Self.maximumDepth))
      guard var node = document.nodes else {
        return (nil, String(cString: document.error), document.error_offset)
      }
      return (Self.value(at: &node, document.strings), "", 0)
    }
    guard let json = read.json else {
      if read.error.isEmpty { throw JSONParseError(description: "invalid UTF-8 in a string") }
      let before = text[..<read.offset]
      let line = before.count { $0 == UInt8(ascii: "\n") } + 1
      let column = before.reversed().prefix { $0 != UInt8(ascii: "\n") }.count + 1
      throw JSONParseError(description: "\(read.error) (line \(line), column \(column))")
    }
    self = json
  }

  package init(parsing text: String) throws(JSONParseError) {
    try self.init(parsing: Array(text.utf8))
  }

  /// The value at `node`, which then is what follows it; `nil` if one of its strings is not UTF-8.
  private static func value(
    at node: inout UnsafePointer<json_node>, _ strings: UnsafePointer<CChar>?
  ) -> JSON? {
    let current = node.pointee
    node += 1
    let count = Int(current.count)
    switch json_kind(current.kind) {
    case JSON_FALSE: return .bool(false)
    case JSON_TRUE: return .bool(true)
    case JSON_INTEGER: return .integer(Int(current.integer))
    case JSON_NUMBER: return .number(current.number)
    case JSON_STRING: return string(current, strings).map { .string($0) }
    case JSON_ARRAY:
      var elements: [JSON] = []
      elements.reserveCapacity(count)
      for _ in 0..<count {
        guard let element = value(at: &node, strings) else { return nil }
        elements.append(element)
      }
      return .array(elements)
    case JSON_OBJECT:
      var members: [(name: String, value: JSON)] = []
      members.reserveCapacity(count)
      for _ in 0..<count {
        let name = string(node.pointee, strings)
        node += 1
        guard let name, let member = value(at: &node, strings) else { return nil }
        members.append((name, member))
      }
      return .object(members)
    default: return .null
    }
  }

  private static func string(_ node: json_node, _ strings: UnsafePointer<CChar>?) -> String? {
    let bytes = UnsafeRawBufferPointer(start: strings.map { $0 + node.offset }, count: Int(node.count))
    // Nearly all are ASCII, for which the check of the standard library costs ten times the string.
    if bytes.allSatisfy({ $0 < 0x80 }) { return String(decoding: bytes, as: UTF8.self) }
    return String(validating: bytes, as: UTF8.self)
  }

  /// Compact UTF-8 text. A number that JSON cannot express (infinite, not a number) becomes `null`.
  package func serialized() -> [UInt8] {
    var text = JSONText(capacity: 0)
    text.append(json: self)
    return text.bytes
  }

  package var text: String { String(decoding: serialized(), as: UTF8.self) }

  func write(to writer: OpaquePointer) {
    switch self {
    case .null: json_write_null(writer)
    case .bool(let value): json_write_bool(writer, value ? 1 : 0)
    case .integer(let value): json_write_integer(writer, Int64(value))
    case .number(let value):
      if value.isFinite { json_write_number(writer, value) } else { json_write_null(writer) }
    case .string(let value): value.withChars { json_write_string(writer, $0, $1) }
    case .array(let elements):
      json_write_array_start(writer)
      for element in elements { element.write(to: writer) }
      json_write_array_end(writer)
    case .object(let members):
      json_write_object_start(writer)
      for member in members {
        member.name.withChars { json_write_name(writer, $0, $1) }
        member.value.write(to: writer)
      }
      json_write_object_end(writer)
    }
  }
}

extension String {
  fileprivate func withChars(_ body: (UnsafePointer<CChar>?, Int) -> Void) {
    var text = self
    text.withUTF8 { bytes in
      bytes.withMemoryRebound(to: CChar.self) { body($0.baseAddress, $0.count) }
    }
  }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
  package init(stringLiteral value: String) { self = .string(value) }
  package init(integerLiteral value: Int) { self = .integer(value) }
  package init(booleanLiteral value: Bool) { self = .bool(value) }
  package init(arrayLiteral elements: JSON...) { self = .array(elements) }
  package init(nilLiteral: ()) { self = .null }
  package init(dictionaryLiteral elements: (String, JSON)...) {
    self = .object(elements.map { (name: $0.0, value: $0.1) })
  }

  /// `.string`, or `.null` for `nil`.
  package init(_ value: String?) { self = value.map { .string($0) } ?? .null }
  package init(_ value: Int?) { self = value.map { .integer($0) } ?? .null }
}
