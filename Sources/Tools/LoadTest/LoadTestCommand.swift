package import Audit
import EventLoop
import Foundation
import HTTPClient
import Identity
import JSON
import Logging
import Text

/// `onsale rush`: plays many buyers against a running system and checks what they were told.
package enum LoadTestCommand {
  /// - Parameter makeIndex: connects to the search index for the audit; `nil` leaves it out.
  /// - Returns: the exit code: 0 when every promise held, 1 when one did not, 2 when it could not run.
  @LoopActor
  package static func run(
    arguments: [String], environment: [String: String],
    makeIndex: @LoopActor () async throws -> (any AuditedIndex)? = { nil }
  ) async -> Int32 {
    if arguments.contains("--help") {
      write(LoadTestOptions.usage, to: 1)
      return 0
    }
    do {
      let options = try LoadTestOptions(arguments)
      let report = try await play(options, environment, makeIndex)
      write(
        options.asJSON
          ? Escaping.terminalJSON(report.json.text) + "\n" : Escaping.terminal(report.text, keepsLines: true),
        to: 1)
      return report.isGood ? 0 : 1
    } catch let problems as LoadTestOptions.Problems {
      write(problems.list.map { "onsale rush: \($0)\n" }.joined() + LoadTestOptions.usage, to: 2)
    } catch {
      write("onsale rush: could not run: \(error)\n", to: 2)
    }
    return 2
  }

  @LoopActor
  private static func play(
    _ options: LoadTestOptions, _ environment: [String: String],
    _ makeIndex: @LoopActor () async throws -> (any AuditedIndex)?
  ) async throws -> LoadTestReport {
    guard var base = environment["ONSALE_URL"], !base.isEmpty else {
      throw CannotLook("ONSALE_URL is not set")
    }
    while base.hasSuffix("/") { base.removeLast() }
    guard let secret = environment["ONSALE_JWT_SECRET"] else {
      throw CannotLook("ONSALE_JWT_SECRET is not set")
    }
    let tokens = try TokenIssuer(secret: secret)
    var configuration = HTTPClientConfiguration()
    configuration.maximumResponseBody = 64 << 20
    let client = HTTPClient(configuration)
    defer { client.close() }
    let office = EventSetup(base: base, client: client, tokens: tokens)
    let event: Int
    switch options.place {
    case .event(let id): event = id
    case .create(let seats): event = try await office.createEvent(seats: seats, options)
    }
    let offer = try await office.offer(event)

    let transport = try transport(options, base: base, connections: options.connections)
    defer { transport.close() }
    let progress = LoadTestProgress(options)
    let rush = LoadTestRun(VirtualBuyers(options, offer), options, transport: transport, tokens: tokens) {
      crowd, seconds in
      progress.show(crowd, seconds)
    }
    let watchers = [SIGINT, SIGTERM].map { signal in SignalWatcher(signal) { rush.interrupt() } }
    var probe: FreshnessProbe?
    if options.measuresFreshness {
      let transport = try Self.transport(options, base: base, connections: 3)
      probe = FreshnessProbe(offer, transport: transport, tokens: tokens)
    }
    let chaos = try options.chaosSeconds.map { seconds in
      try Chaos(
        options, seconds: seconds, environment: environment, logger: Logger(label: "chaos"),
        write: { write($0, to: 2) })
    }
    let before = Usage()
    probe?.start()
    let disturbing = Task { @LoopActor in await chaos?.run() }
    await rush.run {
      // Nobody is asked once more while the stack is being put together again.
      disturbing.cancel()
      await disturbing.value
    }
    let used = Usage()
    await probe?.finish()
    withExtendedLifetime(watchers) {}
    progress.end()
    rush.finish()

    var report = LoadTestReport(
      options: options, figures: rush.crowd.figures, violations: rush.crowd.violations,
      pending: rush.crowd.pending,
      seconds: rush.seconds, ownSeconds: used.seconds - before.seconds, peakMemory: used.peakBytes)
    report.beganUnixMilliseconds = rush.beganUnixMilliseconds
    report.freshness = probe?.freshness
    report.chaos = chaos?.done
    if options.audits {
      do {
        report.audit = try await audit(event, options, environment, makeIndex)
        compare(event, &report)
      } catch {
        report.auditFailure = "\(error)"
      }
    }
    return report
  }

  @LoopActor
  private static func transport(
    _ options: LoadTestOptions, base: String, connections: Int
  ) throws -> any Transport {
    switch options.client {
    case .curl: return CurlTransport(base: base, connections: connections)
    case .own:
      guard let endpoint = WireEndpoint(base) else {
        throw CannotLook("\(base) is not a plain http URL that can be resolved; try --client curl")
      }
      return WireTransport(endpoint, connections: connections)
    }
  }

  @LoopActor
  private static func audit(
    _ event: Int, _ options: LoadTestOptions, _ environment: [String: String],
    _ makeIndex: @LoopActor () async throws -> (any AuditedIndex)?
  ) async throws -> AuditReport {
    var wanted = AuditOptions()
    wanted.event = event
    wanted.settleSeconds = options.settleSeconds
    let progress = ProgressLine()
    let stack = try await AuditStack(
      environment: environment, options: wanted, index: try await makeIndex(), logger: Logger(label: "rush"),
      progress: { progress.show($0) })
    let report: AuditReport
    do {
      report = try await stack.audit.run()
    } catch {
      await stack.close()
      throw error
    }
    await stack.close()
    progress.clear()
    return report
  }

  /// The stores must count what the buyers count, if nobody else bought.
  private static func compare(_ event: Int, _ report: inout LoadTestReport) {
    guard case .create = report.options.place, let stores = report.audit?.events[event] else { return }
    let figures = report.figures
    if stores.accepted < figures.accepted {
      report.violations.add(
        .figures, "\(figures.accepted) buyers were accepted, Redis gave out \(stores.accepted) positions")
    }
    guard report.pending == 0 else { return }
    let purchased = figures.outcomes[.purchased] ?? 0
    if (stores.salesSold, stores.ticketsSold, stores.amountSold) != (
      purchased, figures.ticketsBought, figures.amount
    ) {
      report.violations.add(
        .figures,
        "buyers have \(purchased) purchases of \(figures.ticketsBought) tickets for \(figures.amount), PostgreSQL "
          + "\(stores.salesSold) of \(stores.ticketsSold) for \(stores.amountSold)")
    }
    if stores.salesCaptured != stores.salesSold {
      report.violations.add(.figures, "\(stores.salesSold) sold, \(stores.salesCaptured) captured")
    }
  }
}

/// What this process has used so far.
private struct Usage {
  let seconds: Double
  let peakBytes: Int

  init() {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    self.seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime)
    peakBytes = usage.ru_maxrss << 10
  }
}
