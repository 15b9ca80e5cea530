import CHiredis

extension RedisValue {
  /// Copies an answer, so that hiredis may free it.
  init(copying reply: UnsafePointer<redisReply>) {
    switch reply.pointee.type {
    case REDIS_REPLY_INTEGER: self = .integer(Int(reply.pointee.integer))
    case REDIS_REPLY_ARRAY:
      self = .array(
        (0..<reply.pointee.elements).map { index in
          guard let element = reply.pointee.element[index] else { return .null }
          return RedisValue(copying: element)
        })
    case REDIS_REPLY_STRING, REDIS_REPLY_STATUS, REDIS_REPLY_ERROR:
      self = .string(Array(UnsafeRawBufferPointer(start: reply.pointee.str, count: reply.pointee.len)))
    default: self = .null
    }
  }

  static func text(of reply: UnsafePointer<redisReply>) -> String {
    String(
      decoding: UnsafeRawBufferPointer(start: reply.pointee.str, count: reply.pointee.len), as: UTF8.self)
  }

  /// Appends a command in Redis's protocol: an array of strings, each with its length.
  static func encode(_ arguments: [RedisArgument], into buffer: inout [UInt8]) {
    appendLength(UInt8(ascii: "*"), arguments.count, to: &buffer)
    for argument in arguments {
      switch argument {
      case .text(let text):
        appendLength(UInt8(ascii: "$"), text.utf8.count, to: &buffer)
        buffer.append(contentsOf: text.utf8)
      case .integer(let value):
        withDigits(of: value) { digits in
          appendLength(UInt8(ascii: "$"), digits.count, to: &buffer)
          buffer.append(contentsOf: digits)
        }
      case .bytes(let bytes):
        appendLength(UInt8(ascii: "$"), bytes.count, to: &buffer)
        buffer.append(contentsOf: bytes)
      }
      endLine(&buffer)
    }
  }

  private static func appendLength(_ kind: UInt8, _ length: Int, to buffer: inout [UInt8]) {
    buffer.append(kind)
    if length < 10 {
      buffer.append(UInt8(ascii: "0") + UInt8(length))
    } else {
      withDigits(of: length) { buffer.append(contentsOf: $0) }
    }
    endLine(&buffer)
  }

  private static func withDigits(of value: Int, _ use: (UnsafeBufferPointer<UInt8>) -> Void) {
    // Nineteen digits and a sign, the last one first.
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { text in
      var rest = value.magnitude, first = 20
      repeat {
        first -= 1
        text[first] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
        rest /= 10
      } while rest > 0
      if value < 0 {
        first -= 1
        text[first] = UInt8(ascii: "-")
      }
      use(UnsafeBufferPointer(rebasing: text[first...]))
    }
  }

  private static func endLine(_ buffer: inout [UInt8]) {
    buffer.append(UInt8(ascii: "\r"))
    buffer.append(UInt8(ascii: "\n"))
  }
}
