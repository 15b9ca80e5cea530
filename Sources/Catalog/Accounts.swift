import API
import Auth
import EventLoop
import HTTPServer
import JSON
import Onsale
import Store

/// Signing up and signing in.
@LoopActor
final class Accounts {
  private static let tokenSeconds = 12 * 3_600

  private let users: UserStore
  private let hasher: PasswordHasher
  private let issuer: TokenIssuer
  private var attempts = SignInAttempts()

  init(users: UserStore, hasher: PasswordHasher, issuer: TokenIssuer) {
    self.users = users
    self.hasher = hasher
    self.issuer = issuer
  }

  func signUp(_ request: HTTPRequest) throws -> HTTPAnswer {
    let fields = try Fields(body: request)
    let name = try fields.string("name", max: Limits.userNameBytes)
    let email = try Self.email(fields)
    let password = try fields.string("password", max: Limits.passwordBytes.upperBound)
    guard password.utf8.count >= Limits.passwordBytes.lowerBound else {
      throw Problem.invalidField("password", "must have at least \(Limits.passwordBytes.lowerBound) bytes")
    }
    return answer { [self] in
      let taken = Problem(409, "email_taken", "There is an account with this address.")
      // Asked before, so that a taken address does not cost a hash.
      if try await users.isKnown(email: email) { throw taken }
      let hash = try await hasher.hash(password)
      guard let id = try await users.create(name: name, email: email, password: hash) else { throw taken }
      return .json(201, ["user_id": .string(id)])
    }
  }

  func signIn(_ request: HTTPRequest) throws -> HTTPAnswer {
    let fields = try Fields(body: request)
    let email = try Self.email(fields)
    let password = try fields.string("password", max: Limits.passwordBytes.upperBound)
    let now = Int(EventLoop.shared.now / 1_000)
    guard attempts.mayTry(email, now: now) else {
      throw Problem(
        429, "too_many_attempts", "Too many attempts to sign in with this address.",
        retryAfter: SignInAttempts.seconds)
    }
    return answer { [self] in
      let user = try await users.credentials(email: email)
      // Also without a user a password is verified, so that the time does not tell who has an account.
      guard try await hasher.verify(password, against: user?.password), let user else {
        throw Problem(401, "wrong_credentials", "The address or the password is wrong.")
      }
      attempts.succeeded(email)
      let issuedAt = Time.now
      let token = issuer.issue(
        user: user.id, role: .customer, lifetimeSeconds: Self.tokenSeconds, now: issuedAt)
      return .json(
        200,
        [
          "token": .string(token), "expires_at": .string(Time.text(issuedAt + Self.tokenSeconds)),
          "user_id": .string(user.id),
        ], headers: [("Cache-Control", "no-store")])
    }
  }

  /// The address in the one spelling that stands for it. Whether mail arrives there is not known.
  private static func email(_ fields: Fields) throws(Problem) -> String {
    let text = try fields.string("email", max: Limits.emailBytes).lowercased()
    let parts = text.split(separator: "@", omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty, text.utf8.count <= Limits.emailBytes,
      text.unicodeScalars.allSatisfy({ !$0.properties.isWhitespace })
    else { throw .invalidField("email", "must be an address such as name@example.com") }
    return text
  }
}

/// How often each address was tried lately, so that guessing a password takes longer than it is worth.
///
/// Of each process; bounded by dropping what is a window old, or the older half of a flood.
struct SignInAttempts {
  static let seconds = 60
  private static let limit = 10
  private static let capacity = 50_000

  private var young: [String: Int] = [:]
  private var old: [String: Int] = [:]
  private var youngSince = 0

  mutating func mayTry(_ email: String, now: Int) -> Bool {
    if now - youngSince >= Self.seconds || young.count >= Self.capacity {
      old = now - youngSince >= 2 * Self.seconds ? [:] : young
      young = [:]
      youngSince = now
    }
    let count = (young[email] ?? 0) + (old[email] ?? 0)
    guard count < Self.limit else { return false }
    young[email, default: 0] += 1
    return true
  }

  mutating func succeeded(_ email: String) {
    young[email] = nil
    old[email] = nil
  }
}
