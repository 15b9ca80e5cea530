import Foundation
import HTTPClient
import HTTPCommon
import HTTPServer
import Identity
import Ledger
import Logging
import Postgres
import Redis
import SMTPClient
import Sale

/// The settings of a process, from its environment: parsed once, all problems reported together.
struct Configuration {
  /// What is wrong with the environment; one line each.
  struct Invalid: Error, CustomStringConvertible {
    let problems: [String]
    var description: String { problems.map { "onsale: \($0)" }.joined(separator: "\n") }
  }

  /// What a command needs besides the optional settings.
  struct Needs: OptionSet {
    let rawValue: Int
    static let database = Needs(rawValue: 1)
    static let schemaOwner = Needs(rawValue: 2)
    static let redis = Needs(rawValue: 4)
    static let payments = Needs(rawValue: 8)
    static let secret = Needs(rawValue: 16)
    static let ledger = Needs(rawValue: 32)
    static let stub = Needs(rawValue: 64)
  }

  /// `ONSALE_DATABASE_URL`: libpq's URL; several hosts are tried in turn.
  var databaseURL = ""
  /// `ONSALE_MIGRATE_DATABASE_URL`: the schema's owner; `ONSALE_DATABASE_URL` if not set.
  var schemaOwnerURL = ""
  /// `ONSALE_SEARCH_DATABASE_URL`: where searches read, such as a replica; `ONSALE_DATABASE_URL` if not set.
  var searchDatabaseURL = ""
  /// `ONSALE_REDIS_URL`: `redis://[:password@]host:port[/database]`.
  var redis: RedisConfiguration?
  /// `ONSALE_SEARCH_URL`: the nodes of OpenSearch or Elasticsearch; PostgreSQL searches if there are none.
  var searchURLs: [String] = []
  /// `ONSALE_PAYMENT_URL` and `ONSALE_PAYMENT_KEY`: the provider's API and secret key.
  var paymentURL = ""
  var paymentKey = ""
  /// `ONSALE_PAYMENT_PUBLISHABLE_KEY`: the provider's key for pages; with it the page shows the provider's own form.
  var paymentPublishableKey: String?
  /// `ONSALE_PAYMENT_HOST`, `ONSALE_PAYMENT_PORT`, `ONSALE_PAYMENT_LEDGER`: where the stub listens and remembers.
  var stubHost = "127.0.0.1"
  var stubPort: UInt16 = 8081
  var ledgerPath = ""
  /// `ONSALE_JWT_SECRET`: at least 32 bytes; signs tokens.
  var secret = ""
  /// `ONSALE_JWT_SECRET_PREVIOUS`: secrets that it has replaced, by commas; their tokens are good until they end.
  var formerSecrets: [String] = []
  /// `ONSALE_REQUEST_SECRET`: at least 32 bytes; signs request ids; `ONSALE_JWT_SECRET` if not set.
  var requestSecret = ""
  /// `ONSALE_REQUEST_SECRET_PREVIOUS`: secrets that it has replaced, be it those of the tokens, by commas; their ids are
  /// read as before.
  var formerRequestSecrets: [String] = []
  /// `ONSALE_JWKS_FILE`: keys of an outside identity provider, read again when the file changes.
  var keySet: (path: String, text: String)?
  /// `ONSALE_JWT_ISSUER`, `ONSALE_JWT_AUDIENCE`: what `iss` and `aud` of that provider's tokens must say; not
  /// looked at if not set.
  var issuer: String?
  var audience: String?
  /// `ONSALE_JWT_ROLE_CLAIM`, `ONSALE_JWT_ROLES`, `ONSALE_JWT_ORGANIZATION_CLAIM`, `ONSALE_JWT_AUDIENCE_OPTIONAL`: where
  /// and how that provider's tokens say what somebody may do.
  var claims = ClaimMapping()
  /// `ONSALE_URL`: the public address, without a slash at its end; links are relative if not set.
  var publicURL = ""
  /// `ONSALE_MAIL_URL`, `ONSALE_MAIL_FROM`: which server takes mail, and from whom it is. Without the first no mail is sent.
  var mail: SMTPConfiguration?
  /// `ONSALE_TIME_ZONE`: of venues whose events name none, by its name in the IANA database.
  var timeZone = VenueZone.utc
  /// `ONSALE_HOST`, `ONSALE_PORT`: where `serve` listens.
  var host = "127.0.0.1"
  var port: UInt16 = 8080
  /// `ONSALE_CORS_ORIGINS`: sites whose pages may call the API, between commas; `*` is every one.
  var crossOrigins: Set<String> = []
  /// `ONSALE_CONNECTIONS_PER_ADDRESS`: open at a time for each client; 0 is no limit, a quarter of all if not set.
  var connectionsPerAddress: Int?
  /// `ONSALE_TRUSTED_PROXIES`: addresses, or ranges of them, whose X-Forwarded-For is believed.
  var trustedProxies: [AddressRange] = []
  /// `ONSALE_PAYMENT_CONNECTIONS`: to the provider at once, per worker.
  var paymentConnections = 2_048
  /// `ONSALE_PAYMENT_SEARCH_SECONDS`: after so long the provider's search has what it made. An order that it answers
  /// with a failure of its own, again and again, is not taken for declined before.
  var paymentSearchSeconds = 60
  /// `ONSALE_PAYMENT_WAIT_SECONDS`: a payment that is not decided after so long is given up, and cancelled.
  var paymentWaitSeconds = 600
  /// `ONSALE_PAYMENT_ACTION_SECONDS`: for so long a payment waits for its buyer, who confirms it with their bank.
  var paymentActionSeconds = 300
  /// `ONSALE_PAYMENT_LATE_SECONDS`: for so long a payment that was given up, and is authorised after all, may still buy the
  /// seats it was for, where nobody else has them; 0 for never.
  var paymentLateSeconds = 3_600
  /// `ONSALE_PAYMENT_LAPSED_SECONDS`: who is asked to pay again, since the authorisation of what they had bought was gone
  /// before its money was taken, has so long for it.
  var paymentLapsedSeconds = 43_200
  /// `ONSALE_PAYMENT_WEBHOOK_SECRET`: what the provider signs its messages with; several are separated by commas.
  var paymentWebhookSecrets: [String] = []
  /// `ONSALE_PAYMENT_KEY_SECONDS`: for so long the provider remembers idempotency keys; a little less than it says.
  var paymentKeySeconds = 82_800
  /// `ONSALE_PAYMENT_RATE`: requests that one worker sends the provider in a second; 0 is no limit.
  var paymentRate: Int?
  /// `ONSALE_DECLINES_PER_USER`, `ONSALE_DECLINES_PER_ADDRESS`, `ONSALE_DECLINES_PER_EVENT`: cards that may be refused in
  /// an hour before the next one has to wait; 0 is no limit.
  var declines = DeclineLimits.Settings()
  /// `ONSALE_WEBHOOK_NETWORKS`: where webhooks may go besides the internet.
  var webhookPolicy = AddressPolicy()
  /// `ONSALE_DATABASE_CONNECTIONS`: per process.
  var databaseConnections = 8
  /// Of searches, which have connections of their own.
  var searchConnections = 4
  /// `ONSALE_BOOKS_MILLISECONDS`: the pause between two pages of the books that workers look over.
  var booksMilliseconds = 2_000
  /// `ONSALE_BOOKS_GRACE_SECONDS`: for so long what happens to a payment is left to those who carry it out.
  var booksGraceSeconds = 900
  /// `ONSALE_TAKEOVER_PERCENT`: how long a silent worker is waited for before others take over its leases,
  /// confirmations and captures, as a share of what is usual. Less is faster, and takes over from slow ones too.
  var takeoverPercent = 100
  /// `ONSALE_REJOIN_SECONDS`: for how long a line that Redis lost takes in only those who were in it; 0 lets everybody
  /// in at once.
  var rejoinSeconds = EventStore.defaultRejoinSeconds
  /// `ONSALE_METRICS_HOST`, `ONSALE_METRICS_PORT`: where a process answers its operators and nobody else, with /metrics,
  /// /readyz and /healthz; nowhere if no port is set.
  var metricsHost = "127.0.0.1"
  var metricsPort: UInt16?
  /// `ONSALE_LOG_LEVEL`: debug, info, notice, warning or error.
  var logLevel = Logger.Level.info

  /// - Parameter mistakes: of the command line, to be told with those of the environment.
  init(_ environment: [String: String], needs: Needs, mistakes: [String] = []) throws {
    var problems = mistakes
    func value(_ name: String) -> String? {
      environment["ONSALE_" + name].flatMap { $0.isEmpty ? nil : $0 }
    }
    func need(_ name: String, _ what: Needs, _ meaning: String) -> String {
      if let value = value(name) { return value }
      if !needs.intersection(what).isEmpty { problems.append("ONSALE_\(name) is not set: \(meaning)") }
      return ""
    }
    func integer(_ name: String, in range: ClosedRange<Int>) -> Int? {
      guard let text = value(name) else { return nil }
      guard let number = Int(text), range.contains(number) else {
        problems.append("ONSALE_\(name) must be a number from \(range.lowerBound) to \(range.upperBound)")
        return nil
      }
      return number
    }

    /// What goes into requests as it is, where a line break at the end, say, would fail each of them.
    func isVisible(_ text: String) -> Bool { text.utf8.allSatisfy { (0x21...0x7E).contains($0) } }
    func checkURLs(_ name: String, _ urls: [String]) {
      if urls.contains(where: { !isVisible($0) || !$0.hasPrefix("http://") && !$0.hasPrefix("https://") }) {
        problems.append("ONSALE_\(name) must start with http:// or https:// and have no blanks")
      }
    }

    func checkURL(_ name: String) { checkURLs(name, value(name).map { [$0] } ?? []) }

    func checkDatabase(_ name: String) {
      guard let url = value(name) else { return }
      do { _ = try PostgresConfiguration(url: url) } catch {
        problems.append("ONSALE_\(name) cannot be understood: postgres://user:password@host:port/database")
      }
    }

    for name in ["DATABASE_URL", "MIGRATE_DATABASE_URL", "SEARCH_DATABASE_URL"] { checkDatabase(name) }
    if let kind = value("DATABASE_POOLER"), kind != "session" {
      problems.append("ONSALE_DATABASE_POOLER must be `session`: nothing else keeps what connections hold")
    }
    databaseURL = need("DATABASE_URL", .database, "postgres://user:password@host:port/database")
    schemaOwnerURL =
      value("MIGRATE_DATABASE_URL")
      ?? need("DATABASE_URL", .schemaOwner, "postgres://owner:password@host/database")
    searchDatabaseURL = value("SEARCH_DATABASE_URL") ?? databaseURL
    searchURLs = (value("SEARCH_URL") ?? "").split(separator: ",").map(String.init)
    checkURLs("SEARCH_URL", searchURLs)
    let redisURL = need("REDIS_URL", .redis, "redis://[:password@]host:port[/database]")
    if !redisURL.isEmpty {
      do { redis = try RedisConfiguration(url: redisURL) } catch {
        problems.append("ONSALE_REDIS_URL cannot be understood: \(error.message)")
      }
    }
    paymentURL = need("PAYMENT_URL", .payments, "the base URL of the payment provider's API")
    checkURL("PAYMENT_URL")
    paymentKey = need("PAYMENT_KEY", [.payments, .stub], "the payment provider's secret key")
    if !isVisible(paymentKey) {
      problems.append("ONSALE_PAYMENT_KEY must be visible ASCII, without blanks or line breaks")
    }
    paymentPublishableKey = value("PAYMENT_PUBLISHABLE_KEY")
    if let key = paymentPublishableKey, !key.hasPrefix("pk_") || !isVisible(key) {
      // A secret key here would be shown to everybody.
      problems.append(
        "ONSALE_PAYMENT_PUBLISHABLE_KEY must be the provider's publishable key, which begins with pk_")
    }
    if let key = paymentPublishableKey, !paymentKey.isEmpty, Self.isLive(key) != Self.isLive(paymentKey) {
      problems.append(
        "ONSALE_PAYMENT_PUBLISHABLE_KEY and ONSALE_PAYMENT_KEY must both be live, or both be of tests")
    }
    if needs.contains(.stub), Self.isLive(paymentKey) {
      problems.append("ONSALE_PAYMENT_KEY is a provider's live key: the payment stub takes nobody's money")
    }
    secret = need("JWT_SECRET", .secret, "at least 32 random bytes, such as from `openssl rand -hex 32`")
    requestSecret = value("REQUEST_SECRET") ?? secret
    func former(_ name: String) -> [String] {
      value(name)?.split(separator: ",").map { String($0) } ?? []
    }
    formerSecrets = former("JWT_SECRET_PREVIOUS")
    // Ids without a secret of their own change theirs with the tokens.
    formerRequestSecrets =
      former("REQUEST_SECRET_PREVIOUS") + (value("REQUEST_SECRET") == nil ? formerSecrets : [])
    for (name, secrets) in [
      ("JWT_SECRET", [secret]), ("REQUEST_SECRET", [requestSecret]), ("JWT_SECRET_PREVIOUS", formerSecrets),
      ("REQUEST_SECRET_PREVIOUS", former("REQUEST_SECRET_PREVIOUS")),
    ] where secrets.contains(where: { !$0.isEmpty && $0.utf8.count < 32 }) {
      problems.append("ONSALE_\(name) is shorter than 32 bytes")
    }
    if let path = value("JWKS_FILE") {
      do { keySet = (path, try String(contentsOfFile: path, encoding: .utf8)) } catch {
        problems.append("ONSALE_JWKS_FILE cannot be read: \(path)")
      }
      if let keySet {
        do throws(AuthError) { try TokenVerifier.check(jwks: keySet.text) } catch {
          problems.append("ONSALE_JWKS_FILE: \(error.message)")
        }
      }
    }
    issuer = value("JWT_ISSUER")
    audience = value("JWT_AUDIENCE")
    claims.roleClaim = value("JWT_ROLE_CLAIM") ?? claims.roleClaim
    claims.organizationClaim = value("JWT_ORGANIZATION_CLAIM")
    for pair in (value("JWT_ROLES") ?? "").split(separator: ",") {
      guard let sign = pair.lastIndex(of: "="),
        let role = Role(rawValue: pair[pair.index(after: sign)...].trimmingCharacters(in: .whitespaces))
      else {
        problems.append(
          "ONSALE_JWT_ROLES must be pairs such as `Box Office=organizer,admins=manager`; the roles are "
            + Role.allCases.map(\.rawValue).joined(separator: ", "))
        break
      }
      claims.roles[pair[..<sign].trimmingCharacters(in: .whitespaces)] = role
    }
    switch value("JWT_AUDIENCE_OPTIONAL") {
    case nil, "false": break
    case "true": claims.allowsMissingAudience = true
    default: problems.append("ONSALE_JWT_AUDIENCE_OPTIONAL must be true or false")
    }
    publicURL = value("URL") ?? ""
    while publicURL.hasSuffix("/") { publicURL.removeLast() }
    if let url = value("MAIL_URL") {
      do throws(SMTPConfiguration.Malformed) {
        mail = try SMTPConfiguration(url: url, from: value("MAIL_FROM") ?? "")
      } catch {
        problems.append("ONSALE_MAIL_URL with ONSALE_MAIL_FROM cannot be understood: \(error)")
      }
      if !publicURL.hasPrefix("https://"), !publicURL.hasPrefix("http://") {
        problems.append("ONSALE_URL is not set: mails have links to it")
      }
    }
    if let name = value("TIME_ZONE") {
      if let zone = VenueZone(name) {
        timeZone = zone
      } else {
        problems.append("ONSALE_TIME_ZONE must be a zone of the IANA database such as Europe/Berlin")
      }
    }
    host = value("HOST") ?? host
    if let number = integer("PORT", in: 0...65535) { port = UInt16(number) }
    for origin in (value("CORS_ORIGINS") ?? "").split(separator: ",").map({ $0.filter { $0 != " " } }) {
      // Compared letter by letter with what browsers say: no path, no slash at the end.
      let isOrigin =
        (origin.hasPrefix("https://") || origin.hasPrefix("http://")) && isVisible(origin)
        && origin.split(separator: "/", omittingEmptySubsequences: false).count == 3
        && origin == origin.lowercased()
      if origin == "*" || isOrigin {
        crossOrigins.insert(origin)
      } else {
        problems.append("ONSALE_CORS_ORIGINS must list origins such as https://tickets.example.com, or be *")
      }
    }
    databaseConnections = integer("DATABASE_CONNECTIONS", in: 1...1000) ?? databaseConnections
    searchConnections = integer("SEARCH_DATABASE_CONNECTIONS", in: 1...1000) ?? searchConnections
    connectionsPerAddress = integer("CONNECTIONS_PER_ADDRESS", in: 0...1_000_000)
    for text in (value("TRUSTED_PROXIES") ?? "").split(separator: ",").map({ $0.filter { $0 != " " } }) {
      if let range = AddressRange(text) {
        trustedProxies.append(range)
      } else {
        problems.append(
          "ONSALE_TRUSTED_PROXIES must list addresses or ranges such as 10.0.0.0/8, not \"\(text)\"")
      }
    }
    paymentConnections = integer("PAYMENT_CONNECTIONS", in: 1...10_000) ?? paymentConnections
    paymentSearchSeconds = integer("PAYMENT_SEARCH_SECONDS", in: 0...3_600) ?? paymentSearchSeconds
    paymentWaitSeconds = integer("PAYMENT_WAIT_SECONDS", in: 1...86_400) ?? paymentWaitSeconds
    paymentKeySeconds = integer("PAYMENT_KEY_SECONDS", in: 1...2_592_000) ?? paymentKeySeconds
    paymentLateSeconds = integer("PAYMENT_LATE_SECONDS", in: 0...86_400) ?? paymentLateSeconds
    paymentActionSeconds = integer("PAYMENT_ACTION_SECONDS", in: 1...3_600) ?? paymentActionSeconds
    paymentLapsedSeconds = integer("PAYMENT_LAPSED_SECONDS", in: 60...604_800) ?? paymentLapsedSeconds
    paymentWebhookSecrets = (value("PAYMENT_WEBHOOK_SECRET") ?? "").split(separator: ",").map(String.init)
    if paymentWebhookSecrets.contains(where: { $0.utf8.count < 16 }) {
      problems.append("ONSALE_PAYMENT_WEBHOOK_SECRET is shorter than 16 bytes")
    }
    declines.perUser = integer("DECLINES_PER_USER", in: DeclineLimits.allowedPerHour) ?? declines.perUser
    declines.perClient =
      integer("DECLINES_PER_ADDRESS", in: DeclineLimits.allowedPerHour) ?? declines.perClient
    declines.perEvent = integer("DECLINES_PER_EVENT", in: DeclineLimits.allowedPerHour) ?? declines.perEvent
    if let blocks = value("WEBHOOK_NETWORKS") {
      if let policy = AddressPolicy(blocks: blocks) {
        webhookPolicy = policy
      } else {
        problems.append("ONSALE_WEBHOOK_NETWORKS must list networks such as 10.0.0.0/8,127.0.0.0/8")
      }
    }
    paymentRate = integer("PAYMENT_RATE", in: 0...100_000)
    booksMilliseconds = integer("BOOKS_MILLISECONDS", in: 100...3_600_000) ?? booksMilliseconds
    booksGraceSeconds = integer("BOOKS_GRACE_SECONDS", in: 1...86_400) ?? booksGraceSeconds
    takeoverPercent = integer("TAKEOVER_PERCENT", in: 10...1_000) ?? takeoverPercent
    rejoinSeconds = integer("REJOIN_SECONDS", in: EventStore.allowedRejoinSeconds) ?? rejoinSeconds
    metricsHost = value("METRICS_HOST") ?? metricsHost
    metricsPort = integer("METRICS_PORT", in: 0...65535).map { UInt16($0) }
    stubHost = value("PAYMENT_HOST") ?? stubHost
    if let number = integer("PAYMENT_PORT", in: 0...65535) { stubPort = UInt16(number) }
    ledgerPath = need("PAYMENT_LEDGER", .ledger, "the file in which the payment stub keeps its ledger")
    if let level = value("LOG_LEVEL") {
      if let known = Logger.Level(rawValue: level) {
        logLevel = known
      } else {
        problems.append(
          "ONSALE_LOG_LEVEL must be one of \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", "))")
      }
    }
    if !problems.isEmpty { throw Invalid(problems: problems) }
  }

  /// Whether payments move money.
  var isLive: Bool { Self.isLive(paymentKey) || paymentPublishableKey.map(Self.isLive) ?? false }

  /// Whether a key is one of Stripe's that moves money: secret, restricted or public.
  private static func isLive(_ key: String) -> Bool {
    ["sk_live", "rk_live", "pk_live"].contains { key.hasPrefix($0) }
  }
}
