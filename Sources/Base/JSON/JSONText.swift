import CRapidJSON

/// JSON text written member by member, for the few answers that are asked for so often that making a `JSON` first would
/// be most of their cost.
///
/// What is written is up to the caller: nothing checks that it is well-formed.
package struct JSONText {
  package private(set) var bytes: [UInt8] = []

  package init(capacity: Int) { bytes.reserveCapacity(capacity) }

  /// Appends a piece of JSON as it is.
  package mutating func append(_ json: StaticString) {
    bytes.append(contentsOf: UnsafeBufferPointer(start: json.utf8Start, count: json.utf8CodeUnitCount))
  }

  /// Appends a piece of JSON as it is, or text within a string in which nothing needs escaping.
  package mutating func append(verbatim text: String) {
    bytes.append(contentsOf: text.utf8)
  }

  package mutating func append(_ value: Int) {
    if value < 0 { return bytes.append(contentsOf: String(value).utf8) }
    // Twenty digits, the last one first.
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
      var rest = value, first = 20
      repeat {
        first -= 1
        digits[first] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
        rest /= 10
      } while rest > 0
      bytes.append(contentsOf: UnsafeBufferPointer(rebasing: digits[first...]))
    }
  }

  /// Appends a string with its quotation marks, escaped where needed.
  package mutating func append(escaping text: String) {
    let isPlain = text.utf8.allSatisfy {
      $0 >= 0x20 && $0 < 0x80 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\")
    }
    guard isPlain else { return append(json: .string(text)) }
    bytes.append(UInt8(ascii: "\""))
    append(verbatim: text)
    bytes.append(UInt8(ascii: "\""))
  }

  package mutating func append(json value: JSON) {
    guard let writer = json_write() else { return }
    value.write(to: writer)
    let text = json_written(writer)
    bytes.append(contentsOf: UnsafeRawBufferPointer(start: text.bytes, count: text.size))
  }
}
