import EventLoop
import Foundation
import HTTPClient
import Identity
import Ledger
import Logging
import Postgres
import Sale
import Text

/// Systems outside, and the messages that they did not take.
extension AdminCommand {
  private static let shownDeadLetters = 100

  func webhooks(_ arguments: inout Arguments) async throws {
    let action = arguments.optional() ?? "list"
    switch action {
    case "list":
      try arguments.finish()
      try await withWebhooks { store in try await list(store) }
    case "add": try await add(&arguments)
    case "rotate":
      let endpoint = try endpoint(try arguments.next("the number of an endpoint"))
      try arguments.finish()
      let secret = WebhookSecret.random()
      try await withWebhooks { store in try await store.rotate(endpoint, to: secret, by: who) }
      print(secret)
      print("the former secret signs, too, for \(WebhookStore.formerHours) hours")
    case "remove":
      let endpoint = try endpoint(try arguments.next("the number of an endpoint"))
      try arguments.finish()
      try await withWebhooks { store in try await store.remove(endpoint, by: who) }
      print("removed")
    case "dead":
      let endpoint = try arguments.optional().map { word throws(Failure) in try self.endpoint(word) }
      try arguments.finish()
      try await withWebhooks { store in try await dead(store, endpoint) }
    case "replay", "drop":
      let endpoint = try endpoint(try arguments.next("the number of an endpoint"))
      let id = try message(try arguments.next("a message, or `all`,"))
      try arguments.finish()
      let count = try await withWebhooks { store in
        action == "replay" ? try await store.replay(endpoint, id: id) : try await store.drop(endpoint, id: id)
      }
      if count == 0 { throw Failure.refused("there is no such dead letter") }
      print("\(count) \(action == "replay" ? "are sent again" : "dropped")")
    case "resend":
      let endpoint = try endpoint(try arguments.next("the number of an endpoint"))
      let event = try arguments.event()
      try arguments.finish()
      let count = try await withWebhooks { store in try await store.resend(to: endpoint, event: event) }
      print("\(count) purchases are told again")
    default:
      throw Failure.usage(
        "webhooks are listed (`list`), added, rotated, removed, shown (`dead`), replayed, dropped or resent")
    }
  }

  private func withWebhooks<R>(_ body: @LoopActor (WebhookStore) async throws -> R) async throws -> R {
    var configuration = try PostgresConfiguration(
      url: try setting("ONSALE_DATABASE_URL"), connections: 1, statementTimeoutMilliseconds: 60_000)
    configuration.poolerKeepsSessions = environment["ONSALE_DATABASE_POOLER"] == "session"
    let postgres = PostgresClient(configuration, logger: Logger(label: "admin"))
    postgres.start()
    defer { postgres.close() }
    try await postgres.waitUntilReady(milliseconds: 5_000)
    return try await body(WebhookStore(postgres))
  }

  private func endpoint(_ word: String) throws(Failure) -> Int {
    guard let number = Int(word), number > 0, number <= Int(Int32.max) else {
      throw .usage("\"\(word)\" is not the number of an endpoint")
    }
    return number
  }

  /// `nil` for all.
  private func message(_ word: String) throws(Failure) -> String? {
    if word == "all" { return nil }
    let id = word.hasPrefix("msg_") ? String(word.dropFirst(4)) : word
    guard UUID(uuidString: id) != nil else { throw .usage("\"\(word)\" is not the id of a message") }
    return id.lowercased()
  }

  private func add(_ arguments: inout Arguments) async throws {
    let types = try arguments.option("types"), events = try arguments.option("events")
    let owner = try arguments.option("organizer")
    let url = try arguments.next("the address")
    try arguments.finish()
    let blocks = environment["ONSALE_WEBHOOK_NETWORKS"] ?? ""
    guard let policy = AddressPolicy(blocks: blocks) else {
      throw Failure.usage("ONSALE_WEBHOOK_NETWORKS must list networks such as 10.0.0.0/8,127.0.0.0/8")
    }
    if let problem = AddressPolicy.problem(with: url, allowsPlain: policy.allowsPlain) {
      throw Failure.usage("the address \(problem)")
    }
    let named = (types ?? "").split(separator: ",").map(String.init)
    let known = named.compactMap(WebhookType.init(rawValue:))
    guard known.count == named.count else {
      throw Failure.usage("types are \(WebhookType.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    let ids = try (events ?? "").split(separator: ",").map { word throws(Failure) in
      try Arguments.event(String(word))
    }
    let secret = WebhookSecret.random()
    let id = try await withWebhooks { store in
      try await store.add(url: url, types: Set(known), events: ids, owner: owner, secret: secret, by: who)
    }
    print("endpoint \(id)")
    print(secret)
    print("it hears of what happens from now on, two seconds at most; the secret is not shown again")
  }

  private func list(_ store: WebhookStore) async throws {
    for endpoint in try await store.endpoints() { try await store.count(endpoint.id) }
    let endpoints = try await store.endpoints()
    if endpoints.isEmpty { return print("there are none") }
    for endpoint in endpoints {
      print("endpoint \(endpoint.id)  \(endpoint.url)")
      let types = endpoint.types.map(\.rawValue).sorted().joined(separator: ", ")
      print("  types    \(types.isEmpty ? "all" : types)")
      let events = endpoint.events.map(String.init).joined(separator: ", ")
      print(
        "  events   \(events.isEmpty ? "all" : events)\(endpoint.owner.map { " of \(Escaping.terminal($0))" } ?? "")"
      )
      if endpoint.secrets.count > 1 { print("  secrets  the former one signs, too") }
      let age = endpoint.waiting > 0 ? ", the oldest for \(endpoint.ageSeconds) s" : ""
      print("  waiting  \(endpoint.waiting)\(age)\(endpoint.isFull ? ", and no more are written" : "")")
      print("  dead     \(endpoint.dead)")
    }
  }

  private func dead(_ store: WebhookStore, _ endpoint: Int?) async throws {
    let letters = try await store.deadLetters(of: endpoint, limit: Self.shownDeadLetters)
    if letters.isEmpty { return print("there are none") }
    for letter in letters {
      print(
        "\(letter.endpoint) msg_\(letter.id)  \(letter.type) of event \(letter.event), \(letter.time), "
          + "\(letter.attempts) attempts: \(letter.problem ?? "")")
    }
  }
}
