import Compression
import HTTPServer

/// One file of the page, with what its answer says about it.
struct Asset: Sendable {
  let name: String
  let body: [UInt8]
  let contentType: String
  /// Strong: it changes with every byte.
  let entityTag: String
  /// The same, compressed once for all who get it; those that are smaller.
  private let packed: [ContentCoding: [UInt8]]
  /// What a client may choose from, the smallest first.
  let codings: [ContentCoding]

  /// - Parameter packing: how much trouble it is worth; `nil` for none, where it is hardly ever sent.
  init(name: String, body: [UInt8], packing: Compress.Effort? = .once) {
    self.name = name
    self.body = body
    contentType = Self.contentType(of: name)
    entityTag = EntityTag.of(body)
    var packed: [ContentCoding: [UInt8]] = [:]
    if let packing {
      if packing == .once { packed[.brotli] = Compress.brotli(body) }
      packed[.gzip] = Compress.gzip(body, packing)
    }
    self.packed = packed
    codings = [.brotli, .gzip].filter { packed[$0] != nil }
  }

  func body(in coding: ContentCoding) -> [UInt8] { packed[coding] ?? body }

  private static func contentType(of name: String) -> String {
    switch name.split(separator: ".").last {
    case "html": "text/html; charset=utf-8"
    case "css": "text/css; charset=utf-8"
    case "js": "text/javascript; charset=utf-8"
    case "svg": "image/svg+xml"
    case "ics": "text/calendar; charset=utf-8"
    default: "application/octet-stream"
    }
  }
}
