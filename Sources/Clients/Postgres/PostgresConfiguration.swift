import CLibPQ

/// Which database, with how many connections, and how patient.
package struct PostgresConfiguration: Sendable {
  /// A libpq URL or connection string; several hosts are tried in turn, `target_session_attrs` chooses among them.
  package let url: String
  package var connections: Int
  /// How long one statement may run, in milliseconds. The server ends it; a little later the client gives up.
  package var statementTimeoutMilliseconds: UInt64
  /// How long connecting may take, and how long a caller waits for a free connection, in milliseconds.
  package var waitMilliseconds: UInt64
  /// Without any connection for longer than this, in milliseconds, callers fail at once instead of waiting.
  package var patienceMilliseconds: UInt64 = 2000
  /// How many callers may wait for a connection. More fail as `unavailable`.
  package var waitingCapacity: Int
  /// Set in every session, by name; ours to choose, so never from outside.
  package var sessionSettings: [(name: String, value: String)] = []
  /// Whether a pooler in between, such as PgBouncer, gives each client a session of its own for as long as it likes. One
  /// that does so for a transaction only gives it another's prepared statements and settings: connections through a
  /// pooler fail unless this is said.
  package var poolerKeepsSessions = false
  /// How many statements each connection keeps prepared.
  package var preparedStatements = 256
  /// For how long, in milliseconds, before all are prepared anew, and planned anew with them.
  package var preparedMilliseconds = UInt64.max

  package init(
    url: String, connections: Int = 4, statementTimeoutMilliseconds: UInt64 = 5000,
    waitMilliseconds: UInt64 = 5000, waitingCapacity: Int = 4096
  ) throws(PostgresError) {
    precondition(connections > 0)
    self.url = url
    self.connections = connections
    self.statementTimeoutMilliseconds = statementTimeoutMilliseconds
    self.waitMilliseconds = waitMilliseconds
    self.waitingCapacity = waitingCapacity
    _ = try Self.parameters(of: url)
  }

  /// The parameters that a URL sets, by their names.
  static func parameters(of url: String) throws(PostgresError) -> [(name: String, value: String)] {
    var problem: UnsafeMutablePointer<CChar>?
    guard let options = PQconninfoParse(url, &problem) else {
      // libpq's message may quote the URL, and with it a password.
      PQfreemem(problem)
      throw PostgresError(.unavailable, "the URL of PostgreSQL cannot be read")
    }
    defer { PQconninfoFree(options) }
    var parameters: [(name: String, value: String)] = []
    var option = options
    while let name = option.pointee.keyword {
      if let value = option.pointee.val { parameters.append((String(cString: name), String(cString: value))) }
      option += 1
    }
    return parameters
  }

  /// How long one try to connect may take, in milliseconds: with several hosts their share of `waitMilliseconds`,
  /// so that in this time each of them was the first to be tried.
  var connectMilliseconds: UInt64 {
    waitMilliseconds / UInt64(Self.hostCount((try? Self.parameters(of: url)) ?? []))
  }

  private static func hostCount(_ parameters: [(name: String, value: String)]) -> Int {
    parameters.filter { $0.name == "host" || $0.name == "hostaddr" }
      .map { $0.value.split(separator: ",", omittingEmptySubsequences: false).count }.max() ?? 1
  }

  /// What a connection is started with: the URL's parameters and, where it leaves them open, ours.
  ///
  /// libpq tries several hosts in turn, but without a limit of time for each when it must not block. So whoever
  /// ran out of time starts the next try with another host.
  func startParameters(firstHost: Int) -> [(name: String, value: String)] {
    var parameters = (try? Self.parameters(of: url)) ?? []
    let hosts = Self.hostCount(parameters)
    for index in parameters.indices where ["host", "hostaddr", "port"].contains(parameters[index].name) {
      let parts = parameters[index].value.split(separator: ",", omittingEmptySubsequences: false)
      guard parts.count == hosts else { continue }
      let first = firstHost % hosts
      parameters[index].value = (parts[first...] + parts[..<first]).joined(separator: ",")
    }
    let defaults: [(name: String, value: String)] = [
      ("client_encoding", "UTF8"), ("fallback_application_name", "onsale"), ("keepalives_idle", "5"),
      ("keepalives_interval", "2"), ("keepalives_count", "3"),
      ("tcp_user_timeout", "\(statementTimeoutMilliseconds + 1000)"),
    ]
    return parameters + defaults.filter { own in !parameters.contains { $0.name == own.name } }
  }
}
