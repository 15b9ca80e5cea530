import EventLoop
import HTTPClient
import Logging
import Metrics
import Sale
import TestServers
import Testing

@testable import Search

@Suite("Nodes of a search cluster")
struct SearchNodesTests {
  private var random = SystemRandomNumberGenerator()

  private static func nodes(_ count: Int = 3) -> SearchNodes {
    SearchNodes((0..<count).map { "http://node-\($0)" }, first: 0)
  }

  private static func asked(_ count: Int, _ nodes: inout SearchNodes, now: UInt64 = 0) -> [Int] {
    var list: [Int] = []
    for _ in 0..<count { list.append(nodes.first(now: now).node) }
    return list
  }

  @Test("They are asked in turn, and who fails is left out until a look finds it well")
  func turns() {
    var nodes = Self.nodes()
    #expect(Self.asked(6, &nodes) == [0, 1, 2, 0, 1, 2])
    let isFirst = nodes.failed(1, askedAt: 100, now: 100), isLeftOut = nodes.failed(1, askedAt: 100, now: 100)
    #expect(isFirst && !isLeftOut, "told once")
    #expect(Self.asked(4, &nodes, now: 100) == [0, 2, 0, 2])
    #expect(nodes.outCount == 1)
    let isBack = nodes.answered(1, now: 200)
    #expect(isBack && nodes.outCount == 0)
    #expect(Set(Self.asked(3, &nodes, now: 200)) == [0, 1, 2])
  }

  @Test("One that answers other things meanwhile is slow, and not left out")
  func slow() {
    var nodes = Self.nodes()
    _ = nodes.answered(1, now: 150)
    let isSlow = nodes.failed(1, askedAt: 100, now: 1_000), isAway = nodes.failed(1, askedAt: 150, now: 1_100)
    #expect(!isSlow && isAway)
  }

  @Test("The last that is well is never left out, and what nobody saw is asked of the others all the same")
  func last() {
    var nodes = Self.nodes()
    let left = (0..<3).map { nodes.failed($0, askedAt: 0, now: 0) }
    #expect(left == [true, true, false])
    #expect(Self.asked(3, &nodes) == [2, 2, 2])
    let seen = nodes.another(besides: [2], isUnseen: false, now: 0)
    let unseen = nodes.another(besides: [2], isUnseen: true, now: 0)
    #expect(seen == nil && unseen != nil && unseen != 2)
    let all = nodes.another(besides: [0, 1, 2], isUnseen: true, now: 0)
    #expect(all == nil)
    var only = Self.nodes(1)
    let isLeftOut = only.failed(0, askedAt: 0, now: 0)
    #expect(!isLeftOut && Self.asked(1, &only) == [0])
  }

  @Test("One that has too much to do is passed over for a moment")
  mutating func busy() {
    var nodes = Self.nodes(2)
    nodes.wasBusy(0, now: 1_000, using: &random)
    #expect(Self.asked(3, &nodes, now: 1_000) == [1, 1, 1])
    #expect(Set(Self.asked(2, &nodes, now: 1_000 + SearchNodes.busyMilliseconds)) == [0, 1])
  }

  @Test(
    "A cluster that is slow as a whole is asked a tenth more, not twice as much; who answers in time uses nothing up"
  )
  func retries() {
    var nodes = Self.nodes()
    for _ in 0..<1_000 where nodes.first(now: 0).mayAskAgain { nodes.giveBack() }
    var again = 0
    for _ in 0..<1_000 where nodes.first(now: 0).mayAskAgain { again += 1 }
    #expect((90...115).contains(again))
  }

  @Test("Looks at one that stays away become rare, and at one that comes and goes")
  mutating func pauses() {
    var nodes = Self.nodes()
    func long(_ pause: UInt64) -> Bool { pause >= SearchNodes.longestPauseMilliseconds / 2 }
    _ = nodes.failed(0, askedAt: 0, now: 0)
    var pauses: [UInt64] = []
    for _ in 0..<12 { pauses.append(nodes.pause(0, using: &random)) }
    #expect(pauses[0] <= SearchNodes.firstPauseMilliseconds && long(pauses[11]))
    _ = nodes.answered(0, now: 1_000)
    _ = nodes.failed(0, askedAt: 1_500, now: 1_500)
    let again = nodes.pause(0, using: &random)
    #expect(long(again))
    _ = nodes.answered(0, now: 2_000)
    _ = nodes.failed(0, askedAt: 2_000 + Backoff.provenMilliseconds, now: 2_000 + Backoff.provenMilliseconds)
    let proven = nodes.pause(0, using: &random)
    #expect(proven <= SearchNodes.firstPauseMilliseconds)
  }

  @Test(
    "Searches and writes go on while one node refuses and another says nothing, and it is asked again when it is back",
    .enabled(if: TestOpenSearch.isAvailable))
  @LoopActor
  func cluster() async throws {
    let server = try TestOpenSearch.shared.url()
    let port = try #require(server.split(separator: ":").last.flatMap { Int($0) })
    let proxies = [try TCPProxy(to: port), try TCPProxy(to: port)]
    let urls = proxies.map { "http://127.0.0.1:\($0.port)" } + ["http://127.0.0.1:\(freePort())"]
    let index = OpenSearchIndex(
      HTTPClient(), urls: urls, prefix: "search_\(UInt32.random(in: .min ... .max))",
      logger: Logger(label: "test"))
    let out = MetricsRegistry.shared.gauge("onsale_search_nodes_out", "")
    func eventually(_ what: String, _ condition: @LoopActor () async throws -> Bool) async throws {
      for _ in 0..<1_200 {
        if try await condition() { return }
        try await sleep(milliseconds: 50)
      }
      Issue.record("never: \(what)")
    }
    try await eventually("it has started") { (try? await index.prepare()) != nil }
    try await eventually("the one that refuses is left out") {
      _ = try await index.search(SearchQuery())
      return out.value == 1
    }
    try await index.apply([document(1, "Mahler")])
    try await eventually("it is found") {
      try await index.search(SearchQuery(terms: "mahler")).hits.count == 1
    }

    proxies[0].set(.silence)
    for number in 2..<22 {
      #expect(try await index.search(SearchQuery(terms: "mahler")).hits.map(\.id) == [1])
      try await index.apply([document(number, "Bruckner")])
    }
    #expect(out.value == 2)
    try await eventually("all are found") {
      try await index.search(SearchQuery(terms: "bruckner")).hits.count == 20
    }
    proxies[0].set(.never)
    try await eventually("it is asked again") { out.value == 1 }

    // The one that was there all the time goes.
    proxies[1].close()
    for _ in 0..<20 { #expect(try await index.search(SearchQuery(terms: "mahler")).hits.map(\.id) == [1]) }
  }
}
