import Foundation

/// Where Redis is and how patient its clients are.
package struct RedisConfiguration: Sendable {
  package var host: String
  package var port: Int
  /// Empty for the default user.
  package var user = ""
  /// Empty for none.
  package var password = ""
  package var database = 0
  /// How long connecting, waiting for a connection, and one command may take, in milliseconds each.
  package var timeoutMilliseconds: UInt64 = 5000
  /// Disconnected for longer than this, in milliseconds, commands fail at once instead of waiting.
  package var patienceMilliseconds: UInt64 = 2000
  /// How many commands may be waiting or under way. More fail as `unavailable`.
  package var capacity = 32_768

  /// - Parameter url: `redis://[[user]:password@]host[:port][/database]`. User and password may be
  ///   percent-encoded; an IPv6 address is written in brackets.
  package init(url: String) throws(RedisError) {
    guard url.hasPrefix("redis://") else { throw Self.malformed("it must start with redis://") }
    var rest = url.dropFirst("redis://".count).prefix { $0 != "?" }
    if let slash = rest.firstIndex(of: "/") {
      let path = rest[rest.index(after: slash)...]
      guard path.isEmpty || (Int(path) ?? -1) >= 0 else {
        throw Self.malformed("the database is not a number")
      }
      database = Int(path) ?? 0
      rest = rest[..<slash]
    }
    if let at = rest.lastIndex(of: "@") {
      let login = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard login.count == 2, let user = String(login[0]).removingPercentEncoding,
        let password = String(login[1]).removingPercentEncoding
      else { throw Self.malformed("before the @ belongs user:password or :password") }
      (self.user, self.password) = (user, password)
      rest = rest[rest.index(after: at)...]
    }
    var portText: Substring = ""
    if rest.hasPrefix("["), let end = rest.firstIndex(of: "]") {
      host = String(rest[rest.index(after: rest.startIndex)..<end])
      let after = rest[rest.index(after: end)...]
      guard after.isEmpty || after.hasPrefix(":") else { throw Self.malformed("after the ] belongs :port") }
      portText = after.dropFirst()
    } else if let colon = rest.lastIndex(of: ":") {
      host = String(rest[..<colon])
      portText = rest[rest.index(after: colon)...]
    } else {
      host = String(rest)
    }
    guard portText.isEmpty || (1...65_535).contains(Int(portText) ?? 0) else {
      throw Self.malformed("the port is not one")
    }
    port = Int(portText) ?? 6379
    guard !host.isEmpty else { throw Self.malformed("the host is missing") }
  }

  private static func malformed(_ reason: String) -> RedisError {
    // The URL itself is left out: it may hold a password.
    RedisError(.unavailable, "the URL of Redis cannot be read: \(reason)")
  }
}
