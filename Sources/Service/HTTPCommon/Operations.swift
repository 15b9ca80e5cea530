import Compression
package import EventLoop
import Foundation
package import HTTPServer
import JSON
import Metrics
import Postgres

/// What a process tells of itself: its operators whether it is ready, and its metrics; everybody whether it lives, and
/// the description of the API.
@LoopActor
package final class Operations {
  /// Something the process needs, and how to find out whether it is there. Must end by itself in bounded
  /// time.
  package typealias Check = (name: String, run: @LoopActor () async throws -> Void)

  /// How long an answer about readiness is kept, in milliseconds: probes cost the same however many there
  /// are.
  private static let freshMilliseconds: UInt64 = 1_000

  /// Something that operators should know and that readiness does not depend on; `nil` while it is not known.
  package typealias Detail = (name: String, text: @LoopActor () -> String?)

  private let checks: [Check]
  private let details: [Detail]
  private var last: (readiness: Readiness, at: UInt64)?
  private var running: Task<Readiness, Never>?
  private let process = ProcessMetrics()

  package init(checks: [Check], details: [Detail] = []) {
    self.checks = checks
    self.details = details
  }

  /// Whether what the process needs is there, as operators and as everybody else are told.
  private struct Readiness: Sendable {
    let detailed: HTTPResponse
    let plain: HTTPResponse
  }

  /// For a port that operators alone reach.
  package func addOperatorRoutes(to router: inout Router) {
    addHealth(to: &router, \.detailed)
    router.on(.get, "/metrics") { [process] _ in
      process.update()
      return .now(
        .text(200, MetricsRegistry.shared.exposition(), type: "text/plain; version=0.0.4; charset=utf-8"))
    }
  }

  private func addHealth(to router: inout Router, _ told: any KeyPath<Readiness, HTTPResponse> & Sendable) {
    router.on(.get, "/healthz") { _ in .now(.json(200, ["status": "ok"], headers: Self.uncached)) }
    router.on(.get, "/readyz") { [self] _ in ready(told) }
  }

  /// For everybody.
  package func addPublicRoutes(to router: inout Router) {
    addHealth(to: &router, \.plain)
    let document = SharedBody(Array(OpenAPIDocument.bytes), .once)
    let tag = EntityTag.of(document.bytes)
    router.on(.get, "/openapi.json") { request in
      let known = request.header("If-None-Match"), accepted = request.header("Accept-Encoding")
      return .later {
        await .shared(
          document, tag: tag, known: known, acceptEncoding: accepted,
          headers: [("Cache-Control", "public, max-age=60")])
      }
    }
  }

  private static let uncached: HTTPResponse.Headers = [("Cache-Control", "no-store")]

  private func ready(_ told: any KeyPath<Readiness, HTTPResponse> & Sendable) -> HTTPAnswer {
    if let last, EventLoop.shared.now - last.at < Self.freshMilliseconds {
      return .now(last.readiness[keyPath: told])
    }
    return .later { [self] in
      if let running { return await running.value[keyPath: told] }
      let task = Task { @LoopActor in await runChecks() }
      running = task
      let readiness = await task.value
      running = nil
      last = (readiness, EventLoop.shared.now)
      return readiness[keyPath: told]
    }
  }

  private func runChecks() async -> Readiness {
    var results: [(name: String, value: JSON)] = []
    var missing: [String] = []
    for check in checks {
      do {
        try await check.run()
        results.append((check.name, "ok"))
      } catch {
        results.append((check.name, "unavailable"))
        // What does not pass by itself is told with what is to be done.
        let error = error as? PostgresError
        missing.append(error?.code == .unsuited ? "\(check.name) (\(error?.message ?? ""))" : check.name)
      }
    }
    if missing.isEmpty {
      let details = details.compactMap { detail in
        detail.text().map { (name: detail.name, value: JSON.string($0)) }
      }
      func answer(_ more: [(name: String, value: JSON)]) -> HTTPResponse {
        .json(200, .object([("status", "ready")] + more), headers: Self.uncached)
      }
      return Readiness(
        detailed: answer([("checks", .object(results)), ("details", .object(details))]), plain: answer([]))
    }
    // Which part is away, and so what the installation is made of, is nobody's business but its operators'.
    func problem(_ detail: String) -> HTTPResponse {
      Problem(503, "not_ready", detail, retryAfter: 1).response
    }
    return Readiness(
      detailed: problem("Not available: \(missing.joined(separator: ", "))."),
      plain: problem("A part of the service is not available right now."))
  }
}

/// What the kernel knows of this process, under the names that Prometheus' own clients use.
@LoopActor
private final class ProcessMetrics {
  private let registry = MetricsRegistry.shared
  private let resident: Gauge
  private let cpu: Gauge
  private let descriptors: Gauge
  private let started: Gauge

  init() {
    resident = registry.gauge("process_resident_memory_bytes", "Resident memory size in bytes")
    cpu = registry.gauge("process_cpu_seconds_total", "User and system CPU time spent in seconds")
    descriptors = registry.gauge("process_open_fds", "Open file descriptors")
    started = registry.gauge("process_start_time_seconds", "Start time since 1970 in seconds")
    started.value = Double(Time.now)
    registry.addLoopTurns()
  }

  func update() {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    cpu.value = Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    if let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) {
      let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
      resident.value = Double(pages * Int(sysconf(Int32(_SC_PAGESIZE))))
    }
    if let directory = opendir("/proc/self/fd") {
      var count = 0
      while readdir(directory) != nil { count += 1 }
      closedir(directory)
      // Without `.`, `..` and the one just used.
      descriptors.value = Double(count - 3)
    }
  }
}
