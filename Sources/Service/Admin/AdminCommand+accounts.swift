import EventLoop
import HTTPCommon
import Ledger
import Sale

extension AdminCommand {
  private static let clientsShown = 50
  private static let addressesRead = 1_000

  /// Who makes accounts and signs in most, and whose cards were refused; or who has several accounts under one address.
  func accounts(_ arguments: inout Arguments) async throws {
    if arguments.flag("spellings") {
      try arguments.finish()
      return try await accountsOfOneAddress()
    }
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

  /// Of versions that took spellings of one address for several. A sign-in finds the one that is typed as it was made.
  private func accountsOfOneAddress() async throws {
    try await withServers { servers in
      var last = "", count = 0
      print(Self.row(["ACCOUNT", "PURCHASES", "ADDRESS"]))
      while true {
        let page = try await servers.users.addressesWithSpellings(after: last, limit: Self.addressesRead)
        for address in page {
          let spellings = (try? EmailAddress(address))?.spellings ?? []
          guard spellings.count > 1 else { continue }
          let accounts = try await servers.users.accounts(spellings)
          // Once, however many of them are read.
          guard accounts.count > 1, accounts.first?.email == address else { continue }
          count += 1
          for account in accounts {
            print(Self.row([account.id, String(account.purchases), account.email]))
          }
        }
        guard page.count == Self.addressesRead, let end = page.last else { break }
        last = end
      }
      print(count == 0 ? "No address has more than one account." : "\(count) with more than one account.")
    }
  }
}
