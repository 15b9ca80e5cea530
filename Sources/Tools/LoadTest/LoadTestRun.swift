import EventLoop
import Foundation
import Identity
import JSON

/// Plays a crowd against a running system: takes requests from the crowd, sends them, and tells it the answers.
@LoopActor
final class LoadTestRun {
  /// The resolution of the pauses between requests.
  private static let tickMilliseconds: UInt64 = 4
  private static let timeoutMilliseconds = 30_000
  private static let tokenLifetimeSeconds = 86_400
  /// Buyers that are asked once more after their end.
  private static let verifiedBuyers = 2_000

  private(set) var crowd: VirtualBuyers
  private let options: LoadTestOptions
  private let transport: any Transport
  private let tokens: TokenIssuer
  private let onProgress: @LoopActor (VirtualBuyers, Double) -> Void
  private let ticker = LoopTimer()
  private var inFlight = 0
  private var longPolls = 0
  private var isPumping = false
  private var isStopped = false
  private var startedAt = 0
  private var endedAt = 0
  private var waiter: UnsafeContinuation<Void, Never>?
  private var isInterrupted = false

  init(
    _ crowd: VirtualBuyers, _ options: LoadTestOptions, transport: any Transport, tokens: TokenIssuer,
    onProgress: @escaping @LoopActor (VirtualBuyers, Double) -> Void
  ) {
    self.crowd = crowd
    self.options = options
    self.transport = transport
    self.tokens = tokens
    self.onProgress = onProgress
  }

  var beganUnixMilliseconds: Int { startedAtUnix / 1000 }

  /// Seconds that the rush itself took.
  var seconds: Double { Double(endedAt - startedAt) / 1e6 }

  /// Runs until every buyer has ended, or the time is over, or it is interrupted; then asks some once more.
  /// - Parameter between: awaited before they are asked once more.
  func run(between: @LoopActor () async -> Void) async {
    startedAt = Self.microseconds()
    ticker.schedule(afterMilliseconds: 0, every: Self.tickMilliseconds) { [weak self] in self?.tick() }
    await untilOver()
    endedAt = Self.microseconds()
    // Those whose answers are under way would be taken for lost.
    await untilIdle()
    await between()
    isStopped = false
    verifyingSince = sinceStart()
    crowd.verifySome(Self.verifiedBuyers, at: sinceStart() / 1000)
    isVerifying = true
    await untilOver()
    ticker.cancel()
  }

  private var isVerifying = false
  private var verifyingSince = 0

  private func untilOver() async {
    await withUnsafeContinuation { waiter = $0 }
    isStopped = true
  }

  private func untilIdle() async {
    while inFlight > 0 {
      try? await sleep(milliseconds: 10)
    }
  }

  /// Ends the rush early; what is known by then is reported.
  func interrupt() { isInterrupted = true }

  private func tick() {
    let now = sinceStart()
    onProgress(crowd, Double(now) / 1e6)
    let isOver =
      isVerifying
      ? crowd.figures.verified >= crowd.figures.toVerify || now - verifyingSince > 30_000_000
      : crowd.isOver || isInterrupted || now > options.secondsLimit * 1_000_000
    if isOver, let waiter {
      self.waiter = nil
      waiter.resume()
    }
    pump()
  }

  /// Sends what is due, as far as connections are free.
  private func pump() {
    guard !isPumping else { return }
    isPumping = true
    defer { isPumping = false }
    while !isStopped, inFlight < options.connections, let job = crowd.next(at: sinceStart()) { send(job) }
  }

  private func send(_ job: VirtualBuyers.Job) {
    inFlight += 1
    var waits = 0
    if job.step == .poll, options.waitSeconds > 0, longPolls < options.connections / 2 {
      waits = options.waitSeconds
      longPolls += 1
    }
    let request = request(job, waits: waits)
    transport.send(request, timeoutMilliseconds: Self.timeoutMilliseconds + waits * 1000) { [self] response in
      inFlight -= 1
      if waits > 0 { longPolls -= 1 }
      let now = sinceStart()
      switch response {
      case .answer(let status, let retryAfter, let body):
        let answer = Answer(status: status, retryAfterSeconds: retryAfter, body: body)
        crowd.answered(job, answer, at: now, unixMilliseconds: (startedAtUnix + now) / 1000)
      case .failure(let code): crowd.failed(job, code: code, at: now)
      }
      pump()
    }
  }

  private func request(_ job: VirtualBuyers.Job, waits: Int) -> BuyerRequest {
    switch job.step {
    case .join, .joinAgain, .takeFewer, .rejoin:
      let wish = crowd.wish(job.buyer)
      var body = "{\"event_id\":\(crowd.offer.event),\"quantity\":\(wish.quantity)"
      if let section = wish.section {
        body += ",\"section\":\(JSON.string(crowd.offer.sections[section]).text)"
      }
      if wish.adjacent { body += ",\"adjacent\":true" }
      if options.buys { body += ",\"payment_method\":\"\(crowd.paymentMethod(job.buyer))\"" }
      if job.step == .rejoin { body += ",\"rejoin\":\"\(crowd.id(job.buyer))\"" }
      return BuyerRequest(
        method: "POST", path: "/api/ticket/reserve", token: token(job.buyer), body: body + "}")
    case .poll, .verify:
      var query: [String] = []
      if waits > 0 { query.append("wait=\(waits)") }
      if let hold = crowd.hold(job.buyer) { query.append("hold=\(hold)") }
      return BuyerRequest(
        method: "GET",
        path: "/api/request/\(crowd.id(job.buyer))" + (query.isEmpty ? "" : "?")
          + query.joined(separator: "&"),
        token: nil, body: "")
    case .confirm, .confirmAgain:
      let method = crowd.paymentMethod(job.buyer)
      return BuyerRequest(
        method: "POST", path: "/api/ticket/confirm", token: token(job.buyer),
        body: "{\"request_id\":\"\(crowd.id(job.buyer))\",\"payment_method\":\"\(method)\""
          + (crowd.hold(job.buyer).map { ",\"hold\":\"\($0)\"" } ?? "") + "}")
    case .cancel:
      return BuyerRequest(
        method: "DELETE", path: "/api/request/\(crowd.id(job.buyer))", token: token(job.buyer), body: "")
    }
  }

  private func token(_ buyer: Int) -> String {
    tokens.issue(
      user: crowd.user(buyer), role: .customer, lifetimeSeconds: Self.tokenLifetimeSeconds,
      now: startedAtUnix / 1_000_000)
  }

  // MARK: Time

  private let startedAtUnix = Int(Date().timeIntervalSince1970 * 1e6)

  private func sinceStart() -> Int { Self.microseconds() - startedAt }

  private static func microseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1_000_000 + time.tv_nsec / 1000
  }

  /// Checks what only the end shows.
  func finish() { crowd.checkAtEnd() }

  func note(_ promise: Violations.Promise, _ example: String) { crowd.violations.add(promise, example) }
}
