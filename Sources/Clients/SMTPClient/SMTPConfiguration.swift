import Foundation
package import Text

/// Which mail server takes our mail, and from whom it is.
package struct SMTPConfiguration: Sendable, CustomStringConvertible {
  package let host: String
  package let port: Int
  /// TLS from the first byte on, by `smtps`.
  package let isSecure: Bool
  /// Empty for none.
  package let user: String
  package let password: String
  package let from: MailAddress
  /// Shown beside the address; may be empty.
  package let fromName: String

  /// What is wrong with a setting, without its value, which may hold a password.
  package struct Malformed: Error, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
  }

  /// - Parameters:
  ///   - url: `smtp://[user:password@]host[:port]` or `smtps://…`; user and password may be percent-encoded.
  ///   - from: `name@example.com`, or `Name <name@example.com>`.
  package init(url: String, from: String) throws(Malformed) {
    guard let parts = URLComponents(string: url), let scheme = parts.scheme,
      ["smtp", "smtps"].contains(scheme),
      let host = parts.host, !host.isEmpty, parts.path.isEmpty || parts.path == "/", parts.query == nil,
      parts.fragment == nil
    else { throw Malformed("must be smtp://user:password@host:port, or smtps://…") }
    isSecure = scheme == "smtps"
    // URLComponents keeps the brackets around an address of IPv6.
    self.host = host.trimmingCharacters(in: ["[", "]"])
    port = parts.port ?? (isSecure ? 465 : 587)
    (user, password) = (parts.user ?? "", parts.password ?? "")
    guard (1...65_535).contains(port) else { throw Malformed("has a port that is none") }
    guard user.isEmpty == password.isEmpty else { throw Malformed("needs user and password, or neither") }
    guard (user + password + self.host).unicodeScalars.allSatisfy({ !$0.steersText }) else {
      throw Malformed("has control characters")
    }
    var text = from[...], name = ""
    if text.hasSuffix(">"), let open = text.lastIndex(of: "<") {
      name = text[..<open].trimmingCharacters(in: .whitespaces)
      text = text[text.index(after: open)...].dropLast()
    }
    guard let address = MailAddress(String(text)), address.isASCII else {
      throw Malformed("must be an address such as tickets@example.com, or Tickets <tickets@example.com>")
    }
    guard name.unicodeScalars.allSatisfy({ !$0.steersText }) else {
      throw Malformed("has control characters in its name")
    }
    (self.from, fromName) = (address, name)
  }

  /// Whether mail may only go out encrypted, with the server's name verified: everywhere but to this machine itself.
  package var requiresTLS: Bool { isSecure || !Self.isLoopback(host) }

  private static func isLoopback(_ host: String) -> Bool {
    var four = in_addr()
    if inet_pton(AF_INET, host, &four) == 1 { return UInt32(bigEndian: four.s_addr) >> 24 == 127 }
    return host.lowercased() == "localhost" || host == "::1"
  }

  var url: String {
    let host = host.contains(":") ? "[\(host)]" : host
    // What we call ourselves in the greeting.
    return "\(isSecure ? "smtps" : "smtp")://\(host):\(port)/\(from.domain)"
  }

  /// Without user and password.
  package var description: String { "\(isSecure ? "smtps" : "smtp")://\(host):\(port)" }
}
