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

  let schedule: ChaosSchedule
  private let runDirectory: String
  private let restart: String
  private let redis: RedisClient
  private let postgres: PostgresClient
  private let http = HTTPClient()
  private let provider: (url: String, key: String)
  private let write: @LoopActor (String) -> Void
  private var isRestarting = false
  private var owesRestart = false
  private var restarts: Task<Void, Never>?
  /// How often each kind of disturbance had an effect.
  private(set) var done: [String: Int] = [:]

  /// - Throws: `CannotLook` if this is no stack of this machine.
  init(
    _ options: RushOptions, seconds: Int, environment: [String: String], logger: Logger,
    write: @escaping @LoopActor (String) -> Void
  ) throws {
    func setting(_ name: String) throws -> String {
      guard let value = environment[name], !value.isEmpty else { throw CannotLook("\(name) is not set") }
      return value
    }
    runDirectory = try setting("ONSALE_STATE") + "/run"
    restart = options.restart
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
    await restarts?.value
    for _ in 0..<Self.lastTries where await runRestart() != 0 {}
    redis.close()
    postgres.close()
    http.close()
  }

  private func carryOut(_ entry: ChaosSchedule.Entry) async {
    switch entry.act {
    case .kill(let process):
      guard let pid = pid(of: process), kill(pid, SIGKILL) == 0 else { return }
      count("killed")
      await pause(entry)
      restartWhatDied()
    case .stop(let process):
      guard let pid = pid(of: process), kill(pid, SIGSTOP) == 0 else { return }
      count("stopped")
      await pause(entry)
      kill(pid, SIGCONT)
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
      ]
      guard await setFaults(faults) else { return }
      count("slowed")
      await pause(entry)
      _ = await setFaults([:])
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

  private func pid(of process: String) -> pid_t? {
    guard let text = try? String(contentsOfFile: "\(runDirectory)/\(process).pid", encoding: .utf8) else {
      return nil
    }
    return pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)).flatMap { $0 > 1 ? $0 : nil }
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
        _ = await runRestart()
      }
      isRestarting = false
    }
  }

  /// - Returns: 0 if everything runs again.
  private func runRestart() async -> Int32 {
    // Not by Foundation's `Process`, which waits for all descendants: what the command starts stays.
    let command = "(\(restart)) </dev/null >/dev/null 2>&1"
    return await withCheckedContinuation { continuation in
      Thread.detachNewThread { continuation.resume(returning: system(command)) }
    }
  }
}
