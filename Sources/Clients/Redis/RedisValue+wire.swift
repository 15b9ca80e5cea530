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
        // Fifteen digits and fewer need no memory of their own.
        let text = String(value)
        appendLength(UInt8(ascii: "$"), text.utf8.count, to: &buffer)
        buffer.append(contentsOf: text.utf8)
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
      buffer.append(contentsOf: String(length).utf8)
    }
    endLine(&buffer)
  }

  private static func endLine(_ buffer: inout [UInt8]) {
    buffer.append(UInt8(ascii: "\r"))
    buffer.append(UInt8(ascii: "\n"))
  }
}
