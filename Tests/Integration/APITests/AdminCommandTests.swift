import Admin
import EventLoop
import Foundation
import Identity
import JSON
import Ledger
import Postgres
import Testing

@testable import Queue
@testable import Sale

@Suite("onsale admin")
@LoopActor
struct AdminCommandTests {
  private func run(_ words: [String], _ environment: [String: String] = [:]) async -> Int32 {
    await AdminCommand.run(arguments: words, environment: environment) { _ in 0 }
  }

  nonisolated static let misuse: [[String]] = [
    [], ["nonsense"], ["token", "--role", "king"], ["token", "--hours", "0"], ["token", "--hours"],
    ["token", "extra"], ["open"], ["open", "x"], ["open", "-1"], ["open", "1", "2"], ["message", "1"],
    ["message", "1", String(repeating: "x", count: 501)], ["rate", "1"], ["rate", "1", "fast"],
    ["rate", "1", "-1"], ["import"], ["import", "--tickets", "1"], ["import", "--tickets", "x", "f"],
    ["import", "--tickets", "1", "--price", "Gold", "f"], ["dead-letters", "burn"],
    ["dead-letters", "requeue"], ["dead-letters", "requeue", "99/1-0"], ["stats"], ["log", "one"],
    ["accounts", "--hours", "0"], ["accounts", "--hours", "49"], ["accounts", "now"],
    ["accounts", "--spellings", "--hours", "2"],
  ]

  @Test("A command that cannot be understood ends with 64", arguments: misuse)
  func misused(_ words: [String]) async {
    #expect(await run(words, ["ONSALE_JWT_SECRET": Service.secret]) == 64)
  }

  @Test("Help is no mistake, and a missing setting is one")
  func settings() async {
    #expect(await run(["help"]) == 0)
    #expect(await run(["token"]) == 64)
    #expect(await run(["token"], ["ONSALE_JWT_SECRET": "short"]) == 64)
    #expect(await run(["token"], ["ONSALE_JWT_SECRET": Service.secret]) == 0)
    #expect(await run(["list"]) == 64)
  }

  @Test("A file that is not there or not right ends with 65, before any server is asked")
  func files() async throws {
    let path = NSTemporaryDirectory() + "onsale-\(UUID().uuidString).jsonl"
    defer { try? FileManager.default.removeItem(atPath: path) }
    #expect(await run(["create-event", "/nowhere/event.json"]) == 65)
    for text in ["", "{", "[]", "{\"name\":\"x\"}", "\n\n", "\u{0}"] {
      try text.write(toFile: path, atomically: true, encoding: .utf8)
      #expect(await run(["create-event", path]) == 65, "\(text)")
      #expect(await run(["import", "--events", path]) == 65, "\(text)")
      #expect(await run(["import", "--tickets", "1", path]) == 65, "\(text)")
    }
  }

  @Test("An event is made, imported once, steered and looked at")
  func operation() async throws {
    let service = try await Service.shared()
    let environment = [
      "ONSALE_DATABASE_URL": service.databaseURL, "ONSALE_REDIS_URL": service.redisURL, "USER": "opa",
    ]
    let path = NSTemporaryDirectory() + "onsale-\(UUID().uuidString)"
    defer { for end in [".jsonl", ".csv"] { try? FileManager.default.removeItem(atPath: path + end) } }
    let event = Service.event([("key", .string(path))]).text
    try (event + "\n\n" + event + "\n").write(toFile: path + ".jsonl", atomically: true, encoding: .utf8)
    for _ in 0..<2 { #expect(await run(["import", "--events", path + ".jsonl"], environment) == 0) }
    let rows = try await service.postgres.query("SELECT id FROM event WHERE key = \(path)")
    #expect(rows.count == 1)
    let id = try #require(try rows.first?.int("id"))
    try "section,row,seat,price\nBox,1,1,5000\n".write(
      toFile: path + ".csv", atomically: true, encoding: .utf8)
    #expect(await run(["import", "--tickets", "\(id)", path + ".csv"], environment) == 0)
    #expect(await run(["import", "--tickets", "\(id)", path + ".csv"], environment) == 1)
    for (words, code) in [
      (["pause", "\(id)"], 1), (["resume", "\(id)"], 1), (["open", "\(id)"], 0), (["pause", "\(id)"], 0),
      (["resume", "\(id)"], 0), (["message", "\(id)", "Doors at 7"], 0), (["rate", "\(id)", "50"], 0),
      (["rate", "\(id)", "unlimited"], 0), (["status", "\(id)"], 0), (["status"], 0),
      (["stats", "\(id)"], 0), (["accounts"], 0), (["accounts", "--spellings"], 0),
      (["log", "\(id)"], 0), (["list"], 0), (["dead-letters"], 0), (["dead-letters", "requeue", "all"], 0),
      (["dead-letters", "requeue", "3/1-0"], 1), (["reindex"], 0), (["stats", "999999999"], 1),
      (["open", "999999999"], 1),
    ] as [([String], Int32)] {
      #expect(await run(words, environment) == code, "\(words)")
    }
    for (words, owner) in [
      (["--organization", "Halls", "--organization", "Köln"], ["Halls", "Köln"]), ([], ["Halls", "Köln"]),
      (["--alone"], []),
    ] {
      #expect(await run(["owner", "\(id)", "ann"] + words, environment) == 0, "\(words)")
      let kept = try await service.events.owner(event: id)?.owner
      #expect(kept == EventOwner(user: "ann", organizations: owner), "\(words)")
    }
    for words in [["--organization", "a\nb"], ["--organization", ""], ["--alone", "--organization", "a"]] {
      #expect(await run(["owner", "\(id)", "ann"] + words, environment) == 64, "\(words)")
    }
    // Noted last.
    #expect(await run(["rate", "\(id)", "unlimited"], environment) == 0)
    let found = try #require(try await service.events.event(id))
    #expect(found.state == "open" && found.total == 53 && found.settings.message == "Doors at 7")
    #expect(try await service.queue.reader.document(event: id)?.message == "Doors at 7")
    #expect(try await service.events.log(event: id, limit: 1).first?.who == "cli:opa")
  }

  @Test("A server that is away ends with 69")
  func away() async {
    let environment = [
      "ONSALE_DATABASE_URL": "postgres://x@127.0.0.1:1/x", "ONSALE_REDIS_URL": "redis://127.0.0.1:1",
    ]
    #expect(await run(["list"], environment) == 69)
  }
}
