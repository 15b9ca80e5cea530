/// One argument of a command. Binary safe; never interpreted, so that input cannot become a command.
package enum RedisArgument: Sendable, ExpressibleByStringLiteral {
  case text(String)
  case integer(Int)
  case bytes([UInt8])

  package init(stringLiteral value: String) { self = .text(value) }
}

/// What Redis answered, copied out of the client library's memory.
///
/// An error inside an array (as in the answer to `EXEC`) is a `string`; an error as a whole is thrown.
package enum RedisValue: Sendable, Equatable {
  case null
  case integer(Int)
  /// A string or a status such as `OK`.
  case string([UInt8])
  case array([RedisValue])

  /// A string's bytes as text; invalid UTF-8 is replaced. `nil` for everything that is not a string.
  package var text: String? {
    if case .string(let bytes) = self { String(decoding: bytes, as: UTF8.self) } else { nil }
  }
  package var integer: Int? { if case .integer(let value) = self { value } else { nil } }
  package var array: [RedisValue]? { if case .array(let values) = self { values } else { nil } }
}
