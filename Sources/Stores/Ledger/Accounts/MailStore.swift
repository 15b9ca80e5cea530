package import EventLoop
package import Postgres
import StoreCommon

/// Mails to be sent, and what their links are good for.
///
/// What is written down here is only what was asked for: whether an address has an account, and so what its mail says, is
/// found out when that is sent. Whoever asks learns nothing from the answer, or from its time.
@LoopActor
package final class MailStore {
  /// Mails of a kind that a mailbox gets in an hour; further ones are not sent, and nobody is told. Of a kind, so that who
  /// signs up somebody else's address keeps them from no new password.
  package nonisolated static let mailsAnHour = 4
  /// Mails that wait; past it nobody may ask for one.
  package nonisolated static let capacity = 20_000
  /// After so long a mail that could not be sent is given up: nobody waits for it any more.
  package nonisolated static let lifeSeconds = 4 * 3_600
  /// For so long one that is over counts for its address.
  private static let keptSeconds = 3_600
  /// For so long an address may be confirmed, and a password be set anew.
  package nonisolated static let signUpSeconds = 86_400
  package nonisolated static let resetSeconds = 1_800
  /// Between two tries: doubled from the first to the longest.
  private static let firstPauseSeconds = 5
  private static let longestPauseSeconds = 900
  private static let batch = 1_000

  private let postgres: PostgresClient

  package init(_ postgres: PostgresClient) { self.postgres = postgres }

  package enum Kind: String, Sendable {
    case signUp = "sign_up"
    case reset
  }

  package enum Outcome: String, Sendable, CaseIterable {
    case sent
    /// Nobody has an account with the address: there is nothing to be said.
    case unneeded
    /// The mail server refuses it.
    case refused
    case givenUp = "given_up"
  }

  /// A mail to be sent.
  package struct Mail: Sendable {
    package let id: String
    package let kind: Kind
    package let email: String
    /// How often it was tried, this time included.
    package let attempts: Int
  }

  // MARK: Asking

  /// Asks for a mail. - Returns: false if too many wait already.
  package func ask(reset email: String) async throws -> Bool {
    try await ask(.reset, email, name: nil, password: nil)
  }

  /// The same for somebody who wants an account.
  /// - Parameter password: its hash.
  package func ask(signUp email: String, name: String, password: String) async throws -> Bool {
    try await ask(.signUp, email, name: name, password: password)
  }

  private func ask(_ kind: Kind, _ email: String, name: String?, password: String?) async throws -> Bool {
    let mailbox = Self.mailbox(email)
    // The lock makes those who ask for one mailbox at the same time come one after the other.
    let results = try await postgres.transaction([
      "SELECT pg_advisory_xact_lock(hashtextextended(\("mail " + mailbox), 0))",
      """
      WITH waiting AS (
        SELECT count(*) >= \(Self.capacity) AS is_full
        FROM (SELECT FROM mail WHERE ended_at IS NULL LIMIT \(Self.capacity)) w
      ), lately AS (SELECT count(*) AS mails FROM mail WHERE mailbox = \(mailbox) AND kind = \(kind.rawValue)
        AND asked_at > now() - interval '1 hour'),
      added AS (
        INSERT INTO mail (kind, email, mailbox, name, password)
        SELECT \(kind.rawValue), \(email), \(mailbox), \(name), \(password) FROM waiting, lately
        WHERE NOT is_full AND mails < \(Self.mailsAnHour)
      )
      SELECT is_full FROM waiting
      """,
    ])
    return try !results[1][0].bool("is_full")
  }

  /// Where the mail of an address arrives, as far as one can guess: many spellings lead to one person, who is not to get a
  /// mail for each. What is behind a plus sign, and points, are left out, as large providers do; where they do not, two
  /// people share what they get in an hour.
  package nonisolated static func mailbox(_ email: String) -> String {
    guard let at = email.lastIndex(of: "@") else { return email }
    let local = email[..<at].prefix { $0 != "+" }.filter { $0 != "." }
    return (local.isEmpty ? String(email[..<at]) : local) + email[at...]
  }

  // MARK: Sending

  /// Mails that are due, which are this caller's for some seconds, oldest first.
  package func due(limit: Int) async throws -> [Mail] {
    let rows = try await postgres.query(
      """
      UPDATE mail SET attempts = attempts + 1, available_at = now() + interval '1 s'
        * least(\(Self.firstPauseSeconds) * 2 ^ least(attempts, 20) + \(Self.sendSeconds), \(Self.longestPauseSeconds))
      WHERE id IN (
        SELECT id FROM mail WHERE ended_at IS NULL AND available_at <= now()
        ORDER BY available_at LIMIT \(limit) FOR UPDATE SKIP LOCKED
      ) RETURNING id::text, kind, email, attempts
      """)
    return try rows.map { row in
      guard let kind = Kind(rawValue: try row.string("kind")) else {
        throw StoreError(.unexpectedAnswer, "mail.kind")
      }
      return Mail(
        id: try row.string("id"), kind: kind, email: try row.string("email"),
        attempts: try row.int("attempts"))
    }
  }

  /// Longer than one may take to be sent, so that nobody sends it at the same time.
  package nonisolated static let sendSeconds = 40

  /// It was not taken: it comes again after its pause alone.
  package func failed(_ mail: Mail) async throws {
    _ = try await postgres.query(
      """
      UPDATE mail SET available_at = available_at - \(Self.sendSeconds) * interval '1 s'
      WHERE id = \(mail.id)::uuid AND ended_at IS NULL AND attempts = \(mail.attempts)
      """)
  }

  /// The user of an address.
  package func user(of email: String) async throws -> String? {
    try await postgres.query("SELECT id FROM users WHERE email = \(email)").first?.string("id")
  }

  /// Keeps what the link of a mail is good for, from now on; of a mail that is over, nothing. One that was sent before goes on being good.
  /// - Parameters:
  ///   - hash: of a `MailToken`.
  ///   - user: whose password it is, of a reset.
  package func keep(_ hash: String, of mail: Mail, user: String?) async throws {
    let seconds = mail.kind == .reset ? Self.resetSeconds : Self.signUpSeconds
    _ = try await postgres.query(
      """
      INSERT INTO mail_token (hash, kind, user_id, email, name, password, expires_at)
      SELECT \(hash), kind, \(user), email, name, password, now() + \(seconds) * interval '1 s'
      FROM mail WHERE id = \(mail.id)::uuid AND ended_at IS NULL
      """)
  }

  package func end(_ mail: Mail, _ outcome: Outcome) async throws {
    _ = try await postgres.query(
      """
      UPDATE mail SET ended_at = now(), outcome = \(outcome.rawValue), name = NULL, password = NULL
      WHERE id = \(mail.id)::uuid AND ended_at IS NULL
      """)
  }

  /// Gives up what is too old, and forgets what is over. - Returns: how many were given up.
  package func tidy() async throws -> Int {
    let old = try await postgres.query(
      """
      UPDATE mail SET ended_at = now(), outcome = \(Outcome.givenUp.rawValue), name = NULL, password = NULL
      WHERE id IN (SELECT id FROM mail WHERE ended_at IS NULL AND asked_at < now() - \(Self.lifeSeconds) * interval '1 s'
        LIMIT \(Self.batch) FOR UPDATE SKIP LOCKED) RETURNING id
      """)
    _ = try await postgres.query(
      """
      DELETE FROM mail WHERE id IN (SELECT id FROM mail WHERE ended_at < now() - \(Self.keptSeconds) * interval '1 s'
        LIMIT \(Self.batch) FOR UPDATE SKIP LOCKED)
      """)
    _ = try await postgres.query(
      """
      DELETE FROM mail_token WHERE hash IN (SELECT hash FROM mail_token WHERE expires_at < now()
        LIMIT \(Self.batch) FOR UPDATE SKIP LOCKED)
      """)
    return old.count
  }

  /// How many wait, and for how many seconds the oldest has.
  package func waiting() async throws -> (count: Int, seconds: Int) {
    let row = try await postgres.query(
      """
      SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(asked_at)), 0)::bigint AS seconds
      FROM mail WHERE ended_at IS NULL
      """)[0]
    return (try row.int("waiting"), try row.int("seconds"))
  }

  // MARK: Links

  /// The hash of the password with which somebody signed up, for the address that a link confirms; `nil` where the link is
  /// of no use, or not any more.
  package func passwordToConfirm(_ hash: String) async throws -> String? {
    try await postgres.query(
      """
      SELECT password FROM mail_token
      WHERE hash = \(hash) AND kind = 'sign_up' AND expires_at > now()
        AND NOT EXISTS (SELECT FROM users WHERE users.email = mail_token.email)
      """
    ).first?.string("password")
  }

  /// Makes the account of an address that is confirmed, once. - Returns: its id; `nil` as above.
  package func confirm(_ hash: String) async throws -> String? {
    try await postgres.query(
      """
      WITH link AS (
        DELETE FROM mail_token WHERE hash = \(hash) AND kind = 'sign_up' AND expires_at > now()
        RETURNING email, name, password
      ), others AS (
        DELETE FROM mail_token WHERE kind = 'sign_up' AND hash <> \(hash) AND email IN (SELECT email FROM link)
      )
      INSERT INTO users (id, name, email, password) SELECT gen_random_uuid()::text, name, email, password FROM link
      ON CONFLICT (email) DO NOTHING RETURNING id
      """
    ).first?.string("id")
  }

  /// Whether a link may set a password.
  package func mayReset(_ hash: String) async throws -> Bool {
    try await !postgres.query(
      "SELECT FROM mail_token WHERE hash = \(hash) AND kind = 'reset' AND expires_at > now()"
    ).isEmpty
  }

  /// Sets the password of whoever a link is of, once, and ends all of their sessions and other links.
  /// - Parameters:
  ///   - password: its hash.
  ///   - time: sessions that began by then end, in milliseconds since 1970.
  /// - Returns: whose it is; `nil` where the link is of no use, or not any more.
  package func reset(_ hash: String, password: String, endingSessionsUpTo time: Int) async throws -> String? {
    try await postgres.query(
      """
      WITH link AS (
        DELETE FROM mail_token WHERE hash = \(hash) AND kind = 'reset' AND expires_at > now() RETURNING user_id
      ), others AS (
        DELETE FROM mail_token WHERE kind = 'reset' AND hash <> \(hash) AND user_id IN (SELECT user_id FROM link)
      ), sessions AS (
        INSERT INTO session_end (user_id, ended_at) SELECT user_id, to_timestamp(\(time) / 1000.0) FROM link
      )
      UPDATE users SET password = \(password) FROM link WHERE users.id = link.user_id RETURNING users.id
      """
    ).first?.string("id")
  }
}
