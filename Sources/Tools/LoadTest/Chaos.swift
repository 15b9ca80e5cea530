import Audit
import EventLoop
import Foundation
import HTTPClient
import JSON
import Logging
import Postgres
import Redis

/// Carries a schedule of disturbances out on the stack whose settings the environment has.
@LoopActor
final class Chaos {
  /// Tries to start what died, at the end.
  private static let lastTries = 20

  private let schedule: ChaosSchedule
  private let runDirectory: String
  private let restart: String
  private let environment: [String: String]
  private let redis: RedisClient
  private let postgres: PostgresClient
  private let http = HTTPClient()
  private let provider: (url: String, key: String)
  private let write: @LoopActor (String) -> Void
  private var isRestarting = false
  private var isEnding = false
  private var owesRestart = false
  private var restarts: Task<Void, Never>?
  /// How often each kind of disturbance had an effect.
  private(set) var done: [String: Int] = [:]

  /// - Throws: `CannotLook` if this is no stack of this machine.
  init(
    _ options: LoadTestOptions, seconds: Int, environment: [String: String], logger: Logger,
    write: @escaping @LoopActor (String) -> Void
  ) throws {
    func setting(_ name: String) throws -> String {
      guard let value = environment[name], !value.isEmpty else { throw CannotLook("\(name) is not set") }
      return value
    }
    runDirectory = try setting("ONSALE_STATE") + "/run"
    restart = options.restart
    self.environment = environment
    provider = (try setting("ONSALE_PAYMENT_URL"), try setting("ONSALE_PAYMENT_KEY"))
    redis = RedisClient(try RedisConfiguration(url: try setting("ONSALE_REDIS_URL")), logger: logger)
    postgres = PostgresClient(
      try PostgresConfiguration(url: try setting("ONSALE_DATABASE_URL"), connections: 1), logger: logger)
    self.write = write
    let files = (try? FileManager.default.contentsOfDirectory(atPath: runDirectory)) ?? []
    let processes = files.filter { $0.hasSuffix(".pid") }.map { String($0.dropLast(4)) }
    guard !processes.isEmpty else { throw CannotLook("no process runs according to \(runDirectory)") }
    schedule = ChaosSchedule(seed: options.seed, seconds: seconds, processes: processes)
  }

  /// Does everything in the schedule, and then whatever lets the stack be whole again.
  func run() async {
    redis.start()
    postgres.start()
    let began = EventLoop.shared.now
    var acts: [Task<Void, Never>] = []
    for entry in schedule.entries {
      let now = Int(EventLoop.shared.now - began)
      do {
        try await sleep(milliseconds: UInt64(max(0, entry.atMilliseconds - now)))
      } catch {
        for act in acts { act.cancel() }
        break
      }
      write("chaos: \(entry)\n")
      acts.append(Task { @LoopActor in await carryOut(entry) })
    }
    for act in acts { await act.value }
    isEnding = true
    await restarts?.value
    // In a task of its own: a run that was cancelled puts the stack together all the same.
    await Task { @LoopActor in await makeWhole() }.value
    redis.close()
    postgres.close()
    http.close()
  }

  private func makeWhole() async {
    for _ in 0..<Self.lastTries {
      if await runRestart() == 0, await setFaults([:]) { return }
      try? await sleep(milliseconds: 1_000)
    }
    write("chaos: the stack could not be started again\n")
  }

  private func carryOut(_ entry: ChaosSchedule.Entry) async {
    switch entry.act {
    case .kill(let process):
      if let pid = pid(of: process), kill(pid, SIGKILL) == 0 { count("killed") }
      await pause(entry)
      restartWhatDied()
    case .stop(let process):
      guard let pid = pid(of: process) else { return }
      // PostgreSQL's sessions are processes of their own.
      let family = [pid] + (process.hasPrefix("postgres-") ? Self.children(of: pid) : [])
      for member in family { kill(member, SIGSTOP) }
      count("stopped")
      await pause(entry)
      for member in family { kill(member, SIGCONT) }
    case .cut(.redis):
      if (try? await redis.command(["CLIENT", "KILL", "TYPE", "normal"])) != nil { count("cut off") }
    case .cut:
      let others: SQL = """
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE usename = current_user AND pid <> pg_backend_pid()
        """
      if (try? await postgres.query(others)) != nil { count("cut off") }
    case .slow(.provider):
      let faults: JSON = [
        "latency_ms": ["mean": 400, "spread": 400], "error_rate": .number(0.1),
        "timeout_before_rate": .number(0.03), "timeout_after_rate": .number(0.03), "hang_ms": 2000,
        "search_lag_ms": 500,
      ]
      guard await setFaults(faults) else { return }
      count("slowed")
      await pause(entry)
      _ = await Task { @LoopActor in await setFaults([:]) }.value
    case .slow:
      let milliseconds = "\(entry.milliseconds)"
      if (try? await redis.command(["CLIENT", "PAUSE", .text(milliseconds), "ALL"])) != nil {
        count("slowed")
      }
    }
  }

  private func count(_ what: String) { done[what, default: 0] += 1 }

  /// A run that is cancelled does not wait, and still undoes what it did.
  private func pause(_ entry: ChaosSchedule.Entry) async {
    try? await sleep(milliseconds: UInt64(entry.milliseconds))
  }

  private func setFaults(_ faults: JSON) async -> Bool {
    let request = HTTPClientRequest(
      method: "POST", url: provider.url + "/stub/faults",
      headers: [("Authorization", "Bearer \(provider.key)"), ("Content-Type", "application/json")],
      body: faults.serialized(), timeoutMilliseconds: 5_000)
    return (try? await http.send(request))?.status == 200
  }

  /// `nil` unless it is the very process that the stack started: a pid alone may be somebody else's by now.
  private func pid(of process: String) -> pid_t? {
    func read(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }
    guard let text = read("\(runDirectory)/\(process).pid"),
      let pid = pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)), pid > 1,
      let started = read("\(runDirectory)/\(process).start")?.split(separator: " ").first,
      // After the name in brackets: the state first, the start in ticks as the 20th.
      let fields = read("/proc/\(pid)/stat")?.split(separator: ")").last?.split(separator: " "),
      fields.count > 19, fields[19] == started, fields[0] != "Z", fields[0] != "X"
    else { return nil }
    return pid
  }

  private static func children(of pid: pid_t) -> [pid_t] {
    let list = try? String(contentsOfFile: "/proc/\(pid)/task/\(pid)/children", encoding: .utf8)
    return (list ?? "").split(separator: " ").compactMap { pid_t($0) }
  }

  // MARK: Starting what died

  /// One restart at a time; who comes while one is under way gets another one after it.
  private func restartWhatDied() {
    owesRestart = true
    guard !isRestarting else { return }
    isRestarting = true
    restarts = Task { @LoopActor in
      while owesRestart {
        owesRestart = false
        if await runRestart() != 0, !isEnding {
          owesRestart = true
          try? await sleep(milliseconds: 1_000)
        }
      }
      isRestarting = false
    }
  }

  /// - Returns: 0 if everything runs again.
  private func runRestart() async -> Int32 {
    let command = "(\(restart)) </dev/null >/dev/null 2>&1"
    let environment = environment.map { "\($0.key)=\($0.value)" }
    return await withCheckedContinuation { continuation in
      Thread.detachNewThread { continuation.resume(returning: Self.shell(command, environment)) }
    }
  }

  /// Not by Foundation's `Process`, which waits for all descendants, and what the command starts stays; nor by
  /// `system`, which keeps an interrupt from this process.
  private nonisolated static func shell(_ command: String, _ environment: [String]) -> Int32 {
    func pointers(_ texts: [String]) -> [UnsafeMutablePointer<CChar>?] { texts.map { strdup($0) } + [nil] }
    let arguments = pointers(["sh", "-c", command]), variables = pointers(environment)
    defer { for text in arguments + variables { free(text) } }
    var pid = pid_t()
    guard posix_spawn(&pid, "/bin/sh", nil, nil, arguments, variables) == 0 else { return -1 }
    var status: Int32 = -1
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    return status
  }
}
