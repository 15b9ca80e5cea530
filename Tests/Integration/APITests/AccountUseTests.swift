import EventLoop
import Identity
import Ledger
import Logging
import Sale
import Testing

@testable import Catalog

@LoopActor
@Suite("Accounts by address", .timeLimit(.minutes(1)))
struct AccountUseTests {
  @Test("However many addresses there are, few are kept, and those that do most")
  func bounded() {
    var use = ClientUse(capacity: 100)
    for number in 0..<10_000 {
      use.count(.signUp, of: "often")
      use.count(.refusal, of: "once-\(number)")
      if number % 2 == 0 { use.count(.signIn, of: "half") }
    }
    let busiest = use.busiest(2)
    let counts = Dictionary(uniqueKeysWithValues: busiest.map { ($0.client, $0.counts) })
    #expect(busiest.count == 4)
    #expect(counts["often"] == .init(signUps: 10_000))
    #expect(counts["half"] == .init(signIns: 5_000))
  }

  @Test("Operators see what all servers have counted, once, and no address")
  func written() async throws {
    let service = try await Service.shared()
    let store = ClientUseStore(service.postgres), names = ClientNames(secret: Service.secret)
    func server() -> AccountUse {
      AccountUse(
        store, names: names, process: "test-\(UInt64.random(in: 0...(.max)))", logger: Logger(label: "test"))
    }
    let (one, other) = (server(), server())
    let (mine, theirs) = ("198.18.\(Int.random(in: 0...255)).7", "2001:db8:\(Int.random(in: 0...9999)):100::")
    for _ in 0..<700 { one.count(.signUp, of: mine) }
    try await one.write()
    one.count(.signIn, of: mine)
    other.count(.signUp, of: mine)
    other.count(.refusal, of: theirs)
    for server in [one, other] {
      try await server.write()
      // Nothing is counted twice.
      try await server.write()
    }
    try await DeclineStore(service.postgres).add([
      DeclineStore.Decline(event: 1, user: "u", client: names.name(of: mine))
    ])
    let hour = WallClock.milliseconds / 3_600_000
    let uses = try await store.busiest(since: hour - 1, limit: 1_000)
    let use = try #require(uses.first { $0.client == names.name(of: mine) })
    #expect(use.counts == .init(signUps: 701, signIns: 1) && use.declines == 1)
    #expect(uses.first { $0.client == theirs + "/56" }?.counts == .init(refusals: 1))
    #expect(!uses.contains { $0.client.contains(mine) })
    // Kept for a named time.
    try await store.write(hour: hour - 100, process: "old", [("old", .init(signUps: 1))])
    try await store.write(hour: hour, process: "new", [])
    #expect(try await !store.busiest(since: 0, limit: 10_000).contains { $0.client == "old" })
  }
}
