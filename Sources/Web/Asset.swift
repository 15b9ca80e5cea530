/// One file of the page, with what its answer says about it.
struct Asset: Sendable {
  let name: String
  let body: [UInt8]
  let contentType: String
  /// Strong: it changes with every byte.
  let entityTag: String

  init(name: String, body: [UInt8]) {
    self.name = name
    self.body = body
    contentType = Self.contentType(of: name)
    var digest = Digest()
    digest.add(body)
    entityTag = "\"\(digest.text)\""
  }

  private static func contentType(of name: String) -> String {
    switch name.split(separator: ".").last {
    case "html": "text/html; charset=utf-8"
    case "css": "text/css; charset=utf-8"
    case "js": "text/javascript; charset=utf-8"
    case "svg": "image/svg+xml"
    default: "application/octet-stream"
    }
  }

  /// Tells versions of our own files apart (FNV-1a, 64 bits). Nobody can choose them, so it need not resist anyone.
  struct Digest {
    private var value: UInt64 = 0xcbf2_9ce4_8422_2325

    mutating func add(_ bytes: [UInt8]) {
      for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
    }

    var text: String {
      let digits = String(value, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }
  }
}
