import CBrotli
import CZlib

/// Makes bytes fewer, once, for all who get them.
package enum Compress {
  /// What is made once while the program runs, and what is made anew with every change: higher levels of either are not
  /// worth their time.
  package enum Effort: Int32, Sendable {
    case once = 9
    case often = 1
  }

  private static let brotliLevel: Int32 = 9

  /// `nil` where it would not be smaller.
  package static func brotli(_ bytes: [UInt8]) -> [UInt8]? {
    var size = BrotliEncoderMaxCompressedSize(bytes.count)
    let packed = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      let isDone = BrotliEncoderCompress(
        brotliLevel, BROTLI_DEFAULT_WINDOW, BROTLI_MODE_TEXT, bytes.count, bytes, &size, buffer.baseAddress)
      count = isDone == BROTLI_TRUE ? size : 0
    }
    return packed.isEmpty || packed.count >= bytes.count ? nil : packed
  }

  /// `nil` where it would not be smaller.
  package static func gzip(_ bytes: [UInt8], _ effort: Effort = .once) -> [UInt8]? {
    var stream = z_stream()
    guard z_gzip_init(&stream, effort.rawValue) == Z_OK else { return nil }
    defer { deflateEnd(&stream) }
    var input = bytes
    let packed = input.withUnsafeMutableBufferPointer { input in
      let room = Int(deflateBound(&stream, uLong(input.count)))
      return [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
        stream.next_in = input.baseAddress
        stream.avail_in = uInt(input.count)
        stream.next_out = buffer.baseAddress
        stream.avail_out = uInt(room)
        count = deflate(&stream, Z_FINISH) == Z_STREAM_END ? room - Int(stream.avail_out) : 0
      }
    }
    return packed.isEmpty || packed.count >= bytes.count ? nil : packed
  }
}
