package import EventLoop
import Foundation
import Identity
package import Ledger
import Lifecycle
package import Logging
import Metrics
package import SMTPClient
import Text

/// Hands a message to whoever delivers it.
@LoopActor
package protocol MailSender: AnyObject {
  /// Returns once it is theirs.
  func send(_ message: MailMessage) async throws(SMTPError)
}

extension SMTPClient: MailSender {}

/// Sends the mails that were asked for, each at least once, in the order in which they were asked for as far as their
/// server takes them.
///
/// A mail is leased, sent, and noted as sent: whoever is killed before that leaves it to whoever comes next, who sends it
/// again under the same Message-ID. Any number of these may run.
@LoopActor
package final class Mailer: Service {
  private static let pauseMilliseconds: UInt64 = 1_000
  /// Each goes out at once, and none is still in line when its lease is over.
  static let batch = SMTPClient.connections
  private static let tidyMilliseconds: UInt64 = 60_000
  /// Servers say that they refuse also what they would take a little later.
  private static let refusals = 3

  package let name = "mailer"
  private let store: MailStore
  private let sender: any MailSender
  private let site: String
  private let logger: Logger
  private var tidiedAt: UInt64?
  private var countedAt: UInt64?
  private var task: Task<Void, Never>?
  private let ended: [MailStore.Outcome: Counter]
  private let failures = MetricsRegistry.shared.counter(
    "onsale_mail_failures_total", "Tries to send a mail that failed")
  private let waiting = MetricsRegistry.shared.gauge("onsale_mails_waiting", "Mails that wait to be sent")
  private let oldest = MetricsRegistry.shared.gauge(
    "onsale_mails_oldest_seconds", "For how long the oldest mail has waited")

  /// - Parameter site: the public address, without a slash at its end.
  package init(_ store: MailStore, sender: any MailSender, site: String, logger: Logger) {
    self.store = store
    self.sender = sender
    self.site = site
    self.logger = logger
    ended = Dictionary(
      uniqueKeysWithValues: MailStore.Outcome.allCases.map { outcome in
        (
          outcome,
          MetricsRegistry.shared.counter(
            "onsale_mails_total", "Mails that are over", labels: [("outcome", outcome.rawValue)])
        )
      })
  }

  package func start() async throws {
    task = Task {
      await repeatRounds("mails wait", pauseMilliseconds: Self.pauseMilliseconds, logger) {
        try await round()
      }
    }
  }

  package func stop() async {
    task?.cancel()
    await task?.value
  }

  /// - Returns: whether there is more.
  func round() async throws -> Bool {
    if tidiedAt.map({ EventLoop.shared.now >= $0 + Self.tidyMilliseconds }) ?? true {
      tidiedAt = EventLoop.shared.now
      let count = try await store.tidy()
      ended[.givenUp]?.increment(by: count)
      if count > 0 { logger.error("mails were given up", ["count": count]) }
    }
    let due = try await store.due(limit: Self.batch)
    let tasks = due.map { mail in Task { @LoopActor in await carryOut(mail) } }
    for task in tasks { await task.value }
    if countedAt.map({ EventLoop.shared.now >= $0 + Self.pauseMilliseconds }) ?? true {
      countedAt = EventLoop.shared.now
      let (count, seconds) = try await store.waiting()
      (waiting.value, oldest.value) = (Double(count), Double(seconds))
    }
    return due.count == Self.batch
  }

  private func carryOut(_ mail: MailStore.Mail) async {
    do {
      let outcome = try await send(mail)
      try await store.end(mail, outcome)
      ended[outcome]?.increment()
      if outcome == .refused {
        logger.warning("a mail was refused", ["mail.id": mail.id, "mail.attempts": mail.attempts])
      } else {
        logger.worksAgain("a mail could not be sent")
      }
    } catch {
      failures.increment()
      // Neither the address nor what the server says, which may repeat it.
      logger.retrying(
        "a mail could not be sent", ["mail.id": mail.id, "mail.attempts": mail.attempts, "error": "\(error)"])
      try? await store.failed(mail)
    }
  }

  private func send(_ mail: MailStore.Mail) async throws -> MailStore.Outcome {
    guard let address = MailAddress(mail.email) else { return .refused }
    guard let letter = try await letter(mail) else { return .unneeded }
    let message = MailMessage(
      id: mail.id, to: address, subject: letter.subject, text: letter.text,
      date: Int(Date().timeIntervalSince1970))
    do throws(SMTPError) {
      try await sender.send(message)
    } catch {
      guard error.isRefusal, mail.attempts >= Self.refusals else { throw error }
      return .refused
    }
    return .sent
  }

  /// What there is to be said, and a link that is good from now on.
  private func letter(_ mail: MailStore.Mail) async throws -> Letter? {
    let user = try await store.user(of: mail.email)
    switch (mail.kind, user) {
    case (.signUp, .some): return .known(site)
    case (.reset, nil): return nil
    case (.signUp, nil):
      let token = MailToken()
      try await store.keep(token.hash, of: mail, user: nil)
      return .confirmation(site, token: token.text)
    case (.reset, .some(let user)):
      let token = MailToken()
      try await store.keep(token.hash, of: mail, user: user)
      return .reset(site, token: token.text)
    }
  }
}
