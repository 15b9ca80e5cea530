package import EventLoop
package import Identity
package import Ledger
import Lifecycle
package import Logging
import Metrics
import Sale

/// Counts what clients do with accounts, so that operators see who makes many: by names that are not their addresses, in
/// bounded memory, written down now and then. What a server has counted since then is lost with it.
@LoopActor
package final class AccountUse {
  private static let milliseconds: UInt64 = 15_000
  private static let clientsCounted = 20_000
  /// Written down of each kind, and hour.
  private static let clientsWritten = 100
  private static let hourMilliseconds = 3_600_000

  private let store: ClientUseStore
  private let names: ClientNames
  private let process: String
  private let logger: Logger
  private var hour = 0
  private var use = ClientUse(capacity: AccountUse.clientsCounted)
  private var isWritten = true
  private var task: Task<Void, Never>?
  private let signUps = MetricsRegistry.shared.counter(
    "onsale_sign_ups_total", "Accounts that were asked for")
  private let signIns = MetricsRegistry.shared.counter(
    "onsale_sign_ins_total", "Tries to sign in", labels: [("outcome", "in")])
  private let refusals = MetricsRegistry.shared.counter(
    "onsale_sign_ins_total", "Tries to sign in", labels: [("outcome", "refused")])
  private let busiest = MetricsRegistry.shared.gauge(
    "onsale_sign_ups_busiest_address",
    "Accounts that one address asked this server for, of this hour, at most")

  /// - Parameter process: unique among all servers that ever run.
  package init(_ store: ClientUseStore, names: ClientNames, process: String, logger: Logger) {
    self.store = store
    self.names = names
    self.process = process
    self.logger = logger
  }

  package func start() async {
    task = Task {
      await repeatRounds("use of accounts cannot be written", pauseMilliseconds: Self.milliseconds, logger) {
        try await write()
        return false
      }
    }
  }

  package func stop() async {
    task?.cancel()
    await task?.value
  }

  /// - Parameter client: as a request has it.
  func count(_ act: ClientUse.Act, of client: String) {
    switch act {
    case .signUp: signUps.increment()
    case .signIn: signIns.increment()
    case .refusal: refusals.increment()
    }
    let now = WallClock.milliseconds / Self.hourMilliseconds
    if now != hour {
      // At most some seconds of the last hour are not written.
      hour = now
      use = ClientUse(capacity: Self.clientsCounted)
    }
    use.count(act, of: names.name(of: client))
    isWritten = false
  }

  package func write() async throws {
    guard !isWritten else { return }
    isWritten = true
    let uses = use.busiest(Self.clientsWritten)
    busiest.value = Double(uses.map(\.counts.signUps).max() ?? 0)
    do {
      try await store.write(hour: hour, process: process, uses)
    } catch {
      isWritten = false
      throw error
    }
  }
}
