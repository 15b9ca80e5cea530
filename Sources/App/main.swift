import Admin
import Audit
import Capacity
import EventLoop
import FaultInjection
import Foundation
import LoadTest
import Logging

let usage = """
  Usage: onsale <command> [options]

    serve [--roles catalog,intake,notifier,admin,web]   the HTTP server; all roles unless some are named
    worker                                              decides requests and carries out payments
    indexer                                             keeps the search index fresh
    payments                                            the payment stub
    migrate [--clean] [--wait SECONDS]                  brings the database's schema up to date; --clean drops what
                                                        only versions before used; tables that others use are waited
                                                        for, at most so long a step (600 s)
    admin ...                                           the operator's commands; `onsale admin help` lists them
    audit ...                                           compares PostgreSQL, Redis and the payment ledger
    rush ...                                            plays buyers against a running system
    plan ...                                            what a sale needs, and what would break first
    version                                             says which version this is

  Settings come from the environment, as ONSALE_ variables.

  """

/// Exit code for a command line or environment that cannot be understood, from sysexits.h.
let misuse: Int32 = 64

@LoopActor
func run(_ arguments: [String], _ environment: [String: String]) async -> Int32 {
  if let problem = Faults.check() {
    FileHandle.standardError.write(Data("onsale: \(problem)\n".utf8))
    return misuse
  }
  guard let command = arguments.first else {
    FileHandle.standardError.write(Data(usage.utf8))
    return misuse
  }
  let rest = Array(arguments.dropFirst())
  if ["admin", "audit", "rush"].contains(command) {
    // They say on their own what they do: besides that only what goes wrong, whatever services are set to log.
    Logger.configure(readers: .people)
    Logger.configure(level: environment["ONSALE_LOG_LEVEL"] == "debug" ? .debug : .warning)
  }
  do {
    switch command {
    case "serve": return try await Roles.serve(rest, environment)
    case "worker": return try await Roles.worker(rest, environment)
    case "indexer": return try await Roles.indexer(rest, environment)
    case "payments": return try await Roles.payments(rest, environment)
    case "migrate": return try await Roles.migrate(rest, environment)
    case "admin":
      return await AdminCommand.run(arguments: rest, environment: environment) { onProgress in
        try await Roles.reindex(environment, onProgress: onProgress)
      }
    case "faults":
      // For the tests that make a process fail at each of them.
      for point in FaultPoint.allCases { print(point.rawValue) }
      return 0
    case "audit":
      return await AuditCommand.run(arguments: rest, environment: environment) {
        try Roles.searchAudit(environment)
      }
    case "rush":
      return await LoadTestCommand.run(arguments: rest, environment: environment) {
        try Roles.searchAudit(environment)
      }
    case "plan": return PlanCommand.run(arguments: rest)
    case "version", "--version":
      print(Version.text)
      return 0
    case "help", "--help", "-h":
      print(usage, terminator: "")
      return 0
    default:
      FileHandle.standardError.write(Data("onsale: there is no command \"\(command)\"\n\n\(usage)".utf8))
      return misuse
    }
  } catch let error as Configuration.Invalid {
    FileHandle.standardError.write(Data("\(error)\n".utf8))
    return misuse
  } catch {
    Logger(label: "onsale").error("could not run", ["command": command, "error": "\(error)"])
    return 1
  }
}

EventLoop.runEverything()
Task { @LoopActor in
  exit(await run(Array(CommandLine.arguments.dropFirst()), ProcessInfo.processInfo.environment))
}
// Everything runs on the loop's thread. An `await` out here would end the main thread and leave its process without
// one, which debuggers and valgrind do not follow.
while true { pause() }
