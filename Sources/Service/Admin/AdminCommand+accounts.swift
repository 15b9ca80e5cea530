import EventLoop
import Sale
import Store

extension AdminCommand {
  private static let clientsShown = 50

  /// Who makes accounts and signs in most, and whose cards were refused.
  func accounts(_ arguments: inout Arguments) async throws {
    let text = try arguments.option("hours") ?? "24"
    try arguments.finish()
    guard let hours = Int(text), (1...ClientUseStore.keptHours).contains(hours) else {
      throw Failure.usage("--hours is a number from 1 to \(ClientUseStore.keptHours)")
    }
    try await withServers { servers in
      let now = WallClock.milliseconds / 3_600_000
      print(Self.row(["SIGN-UPS", "SIGN-INS", "WRONG", "CARDS REFUSED", "ADDRESS"]))
      for use in try await servers.clients.busiest(since: now - hours + 1, limit: Self.clientsShown) {
        let counts = use.counts
        print(
          Self.row(
            [counts.signUps, counts.signIns, counts.refusals, use.declines].map { String($0) } + [use.client])
        )
      }
    }
  }
}
