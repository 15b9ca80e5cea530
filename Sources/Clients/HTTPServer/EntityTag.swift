/// Names the content of an answer, so that a client that has it already is not sent it again.
package enum EntityTag {
  /// The same content has the same tag in every process. Strong: it changes with every byte.
  package static func of(_ bytes: [UInt8]) -> String {
    // FNV-1a: quick, and an accidental collision of two versions of one page is out of reach. Nobody can choose them, so
    // it need not resist anyone.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return "\"\(String(hash, radix: 36))\""
  }

  /// The tag of the same content in a coding: those are other bytes.
  package static func of(_ tag: String, in coding: ContentCoding) -> String {
    coding == .identity ? tag : "\(tag.dropLast())-\(coding.rawValue)\""
  }

  /// Whether a client that sent `header` as If-None-Match has the content, in whatever coding. Weak tags match too: for
  /// GET that is enough.
  package static func matches(_ header: String?, _ tag: String) -> Bool {
    guard let header, let wanted = plain(tag[...]) else { return false }
    return header.listed.contains { part in part == "*" || plain(part) == wanted }
  }

  /// What stands behind a tag where a proxy has compressed what it names: Apache, nginx's modules, Jetty, our own.
  private static let codings = ["gzip", "br", "zstd", "deflate"]
  private static let separators = ["--", "-", ";", ":", "+"]

  /// What a tag says between its quotation marks, without those; `nil` for what has none.
  private static func plain(_ tag: Substring) -> Substring? {
    var tag = tag
    if tag.hasPrefix("W/") { tag = tag.dropFirst(2) }
    guard tag.count > 1, tag.first == "\"", tag.last == "\"" else { return nil }
    tag = tag.dropFirst().dropLast()
    for coding in codings where tag.hasSuffix(coding) {
      let rest = tag.dropLast(coding.count)
      if let separator = separators.first(where: rest.hasSuffix) { return rest.dropLast(separator.count) }
    }
    return tag
  }
}

/// How the bytes of an answer stand for its content.
package enum ContentCoding: String, Sendable, CaseIterable {
  case identity
  case gzip
  case brotli = "br"

  /// What a client wants most among `available`, the best for it first.
  /// - Parameter header: Accept-Encoding; whoever sends none gets what needs no decoding.
  package static func chosen(_ header: String?, among available: [ContentCoding]) -> ContentCoding {
    guard let header else { return .identity }
    var weights: [Substring: Double] = [:]
    for part in header.lowercased().listed {
      let parts = part.split(separator: ";")
      guard let name = parts.first?.trimmed else { continue }
      let weight = parts.dropFirst().lazy.map { $0.trimmed }.first { $0.hasPrefix("q=") }
      weights[name] = weight.map { Double($0.dropFirst(2)) ?? 0 } ?? 1
    }
    func weight(_ coding: ContentCoding) -> Double {
      weights[coding.rawValue[...]] ?? (coding == .gzip ? weights["x-gzip"] : nil) ?? weights["*"] ?? 0
    }
    let best = available.filter { $0 != .identity && weight($0) > 0 }
      .enumerated().max { (weight($0.element), -$0.offset) < (weight($1.element), -$1.offset) }
    return best?.element ?? .identity
  }
}

extension String {
  /// The elements of a list in a header, without blanks at their ends: the first of them, of which nobody who means it
  /// sends so many. What is behind counts as not said.
  fileprivate var listed: some Sequence<Substring> {
    let limit = 64
    return utf8.split(separator: UInt8(ascii: ","), maxSplits: limit).prefix(limit).lazy
      .map { Substring($0).trimmed }
  }
}

extension Substring {
  /// Without blanks at its ends.
  fileprivate var trimmed: Substring {
    var text = drop { $0 == " " || $0 == "\t" }
    while text.last == " " || text.last == "\t" { text.removeLast() }
    return text
  }
}
