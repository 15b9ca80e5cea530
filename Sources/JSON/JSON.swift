import CJansson

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

  /// Parses UTF-8 text. Duplicate member names, invalid UTF-8, `\u0000`, integers beyond 64 bits and nesting
  /// beyond `maximumDepth` are errors.
  package init(parsing text: [UInt8]) throws(JSONParseError) {
    var error = json_error_t()
    let flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY
    let root = text.withUnsafeBytes { bytes in
      json_loadb(bytes.baseAddress, bytes.count, Int(flags), &error)
    }
    guard let root else {
      let message = withUnsafeBytes(of: error.text) { text in
        String(decoding: text.prefix { $0 != 0 }, as: UTF8.self)
      }
      throw JSONParseError(description: "\(message) (line \(error.line), column \(error.column))")
    }
    defer { json_decref(root) }
    self = try Self.copy(root, depth: 0)
  }

  package init(parsing text: String) throws(JSONParseError) {
    try self.init(parsing: Array(text.utf8))
  }

  private static func copy(_ value: UnsafeMutablePointer<json_t>, depth: Int) throws(JSONParseError) -> JSON {
    guard depth < maximumDepth else {
      throw JSONParseError(description: "nested deeper than \(maximumDepth) levels")
    }
    switch value.pointee.type {
    case JSON_OBJECT:
      var members: [(name: String, value: JSON)] = []
      members.reserveCapacity(json_object_size(value))
      var iterator = json_object_iter(value)
      while let current = iterator {
        if let key = json_object_iter_key(current), let member = json_object_iter_value(current) {
          members.append((String(cString: key), try copy(member, depth: depth + 1)))
        }
        iterator = json_object_iter_next(value, current)
      }
      return .object(members)
    case JSON_ARRAY:
      var elements: [JSON] = []
      elements.reserveCapacity(json_array_size(value))
      for index in 0..<json_array_size(value) {
        if let element = json_array_get(value, index) { elements.append(try copy(element, depth: depth + 1)) }
      }
      return .array(elements)
    case JSON_STRING:
      let bytes = UnsafeRawBufferPointer(start: json_string_value(value), count: json_string_length(value))
      return .string(String(decoding: bytes, as: UTF8.self))
    case JSON_INTEGER: return .integer(Int(json_integer_value(value)))
    case JSON_REAL: return .number(json_real_value(value))
    case JSON_TRUE: return .bool(true)
    case JSON_FALSE: return .bool(false)
    default: return .null
    }
  }

  /// Compact UTF-8 text. A number that JSON cannot express (infinite, not a number) becomes `null`.
  package func serialized() -> [UInt8] {
    guard let root = makeC() else { return Array("null".utf8) }
    defer { json_decref(root) }
    let flags = Int(JSON_COMPACT | JSON_ENCODE_ANY)
    let size = json_dumpb(root, nil, 0, flags)
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = buffer.withMemoryRebound(to: CChar.self) { json_dumpb(root, $0.baseAddress, size, flags) }
    }
  }

  package var text: String { String(decoding: serialized(), as: UTF8.self) }

  private func makeC() -> UnsafeMutablePointer<json_t>? {
    switch self {
    case .null: return json_null()
    case .bool(let value): return value ? json_true() : json_false()
    case .integer(let value): return json_integer(json_int_t(value))
    case .number(let value): return json_real(value) ?? json_null()
    case .string(var value):
      return value.withUTF8 { bytes in
        bytes.withMemoryRebound(to: CChar.self) { json_stringn_nocheck($0.baseAddress, $0.count) }
      }
    case .array(let elements):
      let array = json_array()
      for element in elements { json_array_append_new(array, element.makeC()) }
      return array
    case .object(let members):
      let object = json_object()
      for member in members { json_object_set_new_nocheck(object, member.name, member.value.makeC()) }
      return object
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
