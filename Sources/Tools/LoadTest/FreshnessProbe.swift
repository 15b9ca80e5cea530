import EventLoop
import Foundation
import Identity
import JSON

/// Looks at an event all through a rush, as somebody does who only looks around: at its queue, in search, and at its
/// page. On connections of its own.
@LoopActor
final class FreshnessProbe {
  /// Milliseconds between two looks, and how long one may take.
  private static let queuePause: UInt64 = 20
  private static let viewPause: UInt64 = 50
  private static let timeout = 5_000
  /// How long the end of the sale may take to be seen, in milliseconds.
  private static let patience: UInt64 = 10_000

  private let event: Int
  private let transport: any Transport
  private let token: String
  private let searchPath: String
  private(set) var freshness = Freshness()
  private var timers: [LoopTimer] = []
  private var underWay: Set<String> = []

  /// - Parameter transport: for three requests at a time.
  init(_ offer: TicketOffer, transport: any Transport, tokens: TokenIssuer) {
    event = offer.event
    self.transport = transport
    token = tokens.issue(user: "rush-looker", role: .customer, lifetimeSeconds: 86_400)
    searchPath = "/api/search?include_sold_out=true&limit=100&terms=\(EventSetup.encoded(offer.name))"
  }

  func start() {
    every(Self.queuePause) { probe in
      probe.look("/api/event/\(probe.event)/queue") { look in
        guard case .version(let version) = look else { return }
        probe.freshness.queue(version: version, at: Self.now())
      } version: {
        $0["version"]?.integer
      }
    }
    every(Self.viewPause) { probe in
      probe.look("/api/event/\(probe.event)", { probe.saw(.page, $0) }, version: { $0["version"]?.integer })
    }
    every(Self.viewPause) { probe in
      let event = probe.event
      probe.look(probe.searchPath, { probe.saw(.search, $0) }) { json in
        json["events"]?.array?.first { $0["id"]?.integer == event }?["version"]?.integer
      }
    }
  }

  /// Goes on until the last change was seen everywhere, for a while.
  func finish() async {
    let end = EventLoop.shared.now + Self.patience
    while Freshness.View.allCases.contains(where: { freshness.unseen($0) > 0 }), EventLoop.shared.now < end {
      try? await sleep(milliseconds: Self.viewPause)
    }
    for timer in timers { timer.cancel() }
    while !underWay.isEmpty { try? await sleep(milliseconds: 10) }
    transport.close()
  }

  private enum Look {
    case version(Int)
    /// An answer without the event.
    case nothing
    case failure(String)
  }

  private func saw(_ view: Freshness.View, _ look: Look) {
    switch look {
    case .version(let version): freshness.saw(view, version: version, at: Self.now())
    case .nothing: freshness.missed(view)
    case .failure(let reason): freshness.failed(view, reason)
    }
  }

  private func every(_ pause: UInt64, _ body: @escaping @LoopActor (FreshnessProbe) -> Void) {
    let timer = LoopTimer()
    timer.schedule(afterMilliseconds: 0, every: pause) { [weak self] in self.map(body) }
    timers.append(timer)
  }

  /// Looks once, unless the last look is still under way.
  private func look(
    _ path: String, _ done: @escaping @LoopActor (Look) -> Void, version: @escaping @LoopActor (JSON) -> Int?
  ) {
    guard underWay.insert(path).inserted else { return }
    let request = BuyerRequest(method: "GET", path: path, token: token, body: "")
    transport.send(request, timeoutMilliseconds: Self.timeout) { [weak self] response in
      self?.underWay.remove(path)
      guard case .answer(let status, _, let body) = response else { return done(.failure("no answer")) }
      guard status == 200 else { return done(.failure("\(status)")) }
      guard let json = try? JSON(parsing: body) else { return done(.failure("no JSON")) }
      done(version(json).map { .version($0) } ?? .nothing)
    }
  }

  private static func now() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1_000_000 + time.tv_nsec / 1000
  }
}
