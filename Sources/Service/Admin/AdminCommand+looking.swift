import HTTPCommon
import Identity
import JSON
import Ledger
import Queue
import Sale
import Text

extension AdminCommand {
  func token(_ arguments: inout Arguments) throws {
    let roleName = try arguments.option("role") ?? Role.organizer.rawValue
    let user = try arguments.option("user")
    let hours = try arguments.option("hours") ?? "12"
    try arguments.finish()
    guard let role = Role(rawValue: roleName) else {
      throw Failure.usage("--role is customer, organizer or manager")
    }
    guard let lifetime = Int(hours), (1...8_760).contains(lifetime) else {
      throw Failure.usage("--hours is a number from 1 to 8760")
    }
    let subject = user ?? (role != .customer ? who : "customer-\(UInt64.random(in: 0...(.max)))")
    guard !subject.isEmpty, subject.count <= TokenVerifier.maximumUserCharacters else {
      throw Failure.usage("--user has 1 to \(TokenVerifier.maximumUserCharacters) characters")
    }
    let issuer: TokenIssuer
    do throws(AuthError) {
      issuer = try TokenIssuer(secret: try environment["ONSALE_JWT_SECRET"].unwrapped())
    } catch { throw Failure.usage("ONSALE_JWT_SECRET: \(error.message)") }
    print(issuer.issue(user: subject, role: role, lifetimeSeconds: lifetime * 3_600))
  }

  func list(_ arguments: inout Arguments) async throws {
    try arguments.finish()
    try await withServers { servers in
      print(Self.row(["ID", "STATE", "DATE", "NAME"]))
      try await each(servers.events) { event in
        let state = event.settings.shownState + (event.isPostponed ? ", postponed" : "")
        print(Self.row([String(event.id), state, Time.text(event.date), event.name]))
      }
    }
  }

  func status(_ arguments: inout Arguments) async throws {
    let id = try arguments.optional().map { word throws(Failure) in try Arguments.event(word) }
    try arguments.finish()
    try await withServers { servers in
      print(Self.row(["ID", "STATE", "WAITING", "FREE", "HELD", "SOLD", "GRANTS/S", "NAME"]))
      if let id {
        guard let event = try await servers.events.event(id) else { throw Self.noEvent }
        return print(try await line(event, servers))
      }
      var alive: [Event] = []
      try await each(servers.events) { event in
        if event.state == EventState.open.rawValue || event.state == EventState.paused.rawValue {
          alive.append(event)
        }
      }
      for event in alive { print(try await line(event, servers)) }
    }
  }

  private func line(_ event: Event, _ servers: Servers) async throws -> String {
    // A sale that was stopped by itself says why.
    let state =
      event.halt.map { "\(event.state) (stopped: \($0.reason.rawValue))" } ?? event.settings.shownState
    guard let document = try await servers.queue.reader.document(event: event.id) else {
      return Self.row([String(event.id), state, "-", "-", "-", "-", "-", event.name])
    }
    return Self.row([
      String(event.id), state, String(max(0, document.tail - document.head)), String(document.free),
      String(document.held), String(document.sold), String(Int(document.grantedPerSecond.rounded())),
      event.name,
    ])
  }

  func stats(_ arguments: inout Arguments) async throws {
    let id = try arguments.event()
    try arguments.finish()
    try await withServers { servers in
      let report = EventReport(events: servers.events, queue: servers.queue.reader)
      guard let json = try await report.json(event: id) else { throw Self.noEvent }
      print(Escaping.terminalJSON(json.text))
    }
  }

  func log(_ arguments: inout Arguments) async throws {
    let id = try arguments.event()
    try arguments.finish()
    try await withServers { servers in
      guard try await servers.events.settings(event: id) != nil else { throw Self.noEvent }
      for entry in try await servers.events.log(event: id, limit: 500).reversed() {
        print(Self.row([Time.text(entry.at), entry.who, entry.action, entry.detail]))
      }
    }
  }

  private func each(_ events: EventStore, _ body: (Event) -> Void) async throws {
    var last = 0
    while true {
      let page = try await events.events(after: last, limit: 500)
      for event in page { body(event) }
      guard page.count == 500, let end = page.last else { return }
      last = end.id
    }
  }

  // MARK: Dead letters

  /// An entry is named by its partition and its id there, such as `3/1700000000000-0`.
  func deadLetters(_ arguments: inout Arguments) async throws {
    let action = arguments.optional() ?? "list"
    switch action {
    case "list":
      try arguments.finish()
      try await withServers { servers in
        var count = 0
        for partition in Partition.all {
          for letter in try await servers.queue.deadLetters.list(partition, limit: 1_000) {
            let fields = letter.fields
            count += 1
            print(
              Self.row([
                "\(partition.number)/\(letter.id)", "event \(fields["e"] ?? "?")",
                "position \(fields["p"] ?? "?")", "attempt \(fields["t"] ?? "?")", fields["reason"] ?? "",
              ]))
          }
        }
        if count == 0 { print("there are none") }
      }
    case "requeue":
      let entry = try arguments.next("the entry, or `all`,")
      try arguments.finish()
      try await withServers { servers in
        let entries =
          entry == "all" ? try await allDeadLetters(servers.queue) : [try Self.deadLetter(entry)]
        for (partition, id) in entries {
          guard try await servers.queue.deadLetters.requeue(partition, deadLetter: id) else {
            throw Failure.refused("there is no entry \(partition.number)/\(id)")
          }
        }
        print("\(entries.count) put back")
      }
    default: throw Failure.usage("say `dead-letters list` or `dead-letters requeue ENTRY`")
    }
  }

  private func allDeadLetters(_ queue: QueueStore) async throws -> [(Partition, String)] {
    var entries: [(Partition, String)] = []
    for partition in Partition.all {
      entries += try await queue.deadLetters.list(partition, limit: 100_000).map { (partition, $0.id) }
    }
    return entries
  }

  private static func deadLetter(_ text: String) throws(Failure) -> (Partition, String) {
    let parts = text.split(separator: "/")
    guard parts.count == 2, let number = Int(parts[0]), Partition.all.indices.contains(number) else {
      throw .usage("\"\(text)\" is not an entry as `dead-letters list` prints them")
    }
    return (Partition(number: number), String(parts[1]))
  }

  // MARK: Text

  static let noEvent = Failure.refused("there is no such event")

  /// Values with tabs between them: aligned enough for people, and easy to cut for scripts.
  static func row(_ values: [String]) -> String {
    values.map { Escaping.terminal($0) }.joined(separator: "\t")
  }
}

extension String? {
  fileprivate func unwrapped() throws(AuthError) -> String {
    guard let self, !self.isEmpty else { throw AuthError(.configuration, "is not set") }
    return self
  }
}
