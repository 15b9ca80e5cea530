import EventLoop
import Foundation
import JSON
import Logging
import Text

/// `onsale audit`: compares PostgreSQL, Redis and the payment provider's ledger, and says what does not fit.
package enum AuditCommand {
  package static let usage = """
    usage: onsale audit [--event ID] [--full] [--repair] [--watch SECONDS] [--settle SECONDS] [--grace SECONDS] [--json]

      --event ID        only this event, and all of it
      --full            everything, and not only what may have changed since the last run without findings
      --repair          settle what can be settled, and say what was done
      --watch SECONDS   again and again, with a pause, until interrupted
      --settle SECONDS  how long work under way may take to end (10)
      --grace SECONDS   how long a payment, an authorisation or an entry may be under way (180)
      --json            for machines

    Exit code: 0 when everything fits, 1 when something does not, 2 when it could not look.

    """

  /// - Parameter makeIndex: connects to the search index; `nil` leaves it out.
  /// - Returns: the exit code: 0 when everything fits, 1 when something does not, 2 when it could not look.
  @LoopActor
  package static func run(
    arguments: [String], environment: [String: String],
    makeIndex: @LoopActor () async throws -> (any AuditedIndex)? = { nil }
  ) async -> Int32 {
    if arguments.contains("--help") {
      write(usage, to: 1)
      return 0
    }
    var reader = ArgumentReader(
      arguments, names: ["event", "watch", "settle", "grace"], switches: ["full", "repair", "json"])
    var options = AuditOptions()
    options.event = reader.integer("event", in: 1...Int(Int32.max))
    options.settleSeconds = reader.integer("settle", in: 0...86_400) ?? options.settleSeconds
    options.graceSeconds = reader.integer("grace", in: 0...86_400) ?? options.graceSeconds
    options.repairs = reader.has("repair")
    options.isFull = reader.has("full")
    let pause = reader.integer("watch", in: 1...86_400)
    guard reader.problems.isEmpty else {
      write(reader.problems.map { "onsale audit: \($0)\n" }.joined() + usage, to: 2)
      return 2
    }
    do {
      let progress = ProgressLine()
      let stack = try await AuditStack(
        environment: environment, options: options, index: try await makeIndex(),
        logger: Logger(label: "audit"),
        progress: { progress.show($0) })
      let code: Int32
      do {
        code = try await look(stack, every: pause, asJSON: reader.has("json"), progress)
      } catch {
        await stack.close()
        throw error
      }
      await stack.close()
      return code
    } catch {
      write("onsale audit: could not look: \(error)\n", to: 2)
      return 2
    }
  }

  @LoopActor
  private static func look(
    _ stack: AuditStack, every pause: Int?, asJSON: Bool, _ progress: ProgressLine
  ) async throws -> Int32 {
    var isClean = true
    var isInterrupted = false
    let watchers =
      pause == nil
      ? []
      : [SIGINT, SIGTERM].map { signal in
        SignalWatcher(signal) { isInterrupted = true }
      }
    defer { withExtendedLifetime(watchers) {} }
    repeat {
      let report = try await stack.audit.run()
      progress.clear()
      await stack.tell(report)
      write(
        asJSON
          ? Escaping.terminalJSON(report.json.text) + "\n" : Escaping.terminal(report.text, keepsLines: true),
        to: 1)
      isClean = isClean && report.isClean
      var waited = 0
      while let pause, waited < pause * 10, !isInterrupted {
        try await sleep(milliseconds: 100)
        waited += 1
      }
    } while pause != nil && !isInterrupted
    return isClean ? 0 : 1
  }
}

/// Writes all of `text` to a file descriptor.
package func write(_ text: String, to descriptor: Int32) {
  let bytes = Array(text.utf8)
  var sent = 0
  while sent < bytes.count {
    let count = bytes.withUnsafeBytes {
      Foundation.write(descriptor, $0.baseAddress! + sent, bytes.count - sent)
    }
    if count <= 0 { return }
    sent += count
  }
}
