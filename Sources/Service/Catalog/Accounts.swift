import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Ledger
import Sale
import Text

/// Signing up and signing in, by mail where mail is sent.
@LoopActor
final class Accounts {
  /// Passwords that may wait to be hashed when somebody signs up: a quarter of all places, so that those who have an
  /// account get in however many ask for one.
  private static let signUpPlaces = PasswordHasher.defaultCapacity / 4
  /// Passwords of one client that may wait at once: a quarter of all places, so that nobody takes them all.
  static let clientPlaces = PasswordHasher.defaultCapacity / 4
  /// The same of those who sign in, as a share of those who may be inside: two greedy ones leave room for others.
  private static let clientShare = 3
  /// The same of one user on a device where they signed in before.
  private static let knownPlaces = 2
  /// Of all such users of one client, at once: further ones come like everybody else, so that who has made many accounts
  /// comes before nobody with them.
  private static let knownOfClient = 16
  /// Accounts that one client may make in an hour, all at once if need be: each is a row for good. As many as a school
  /// behind one address; beyond them it gets slower, and nobody there waits for an hour.
  static let signUpsAnHour = 500
  /// Clients whose accounts are counted.
  private static let clientsKept = 50_000

  /// Mails that one client may ask for in an hour besides those of accounts: for a password that nobody knows any more.
  private static let resetsAnHour = 60

  private let users: UserStore
  private let mails: MailStore?
  private let use: AccountUse?
  private let hasher: PasswordHasher
  private let sessions: Sessions
  private let authenticator: Authenticator
  private var attempts = SignInAttempts()
  var signUps = TokenBuckets<String>(anHour: Accounts.signUpsAnHour, capacity: Accounts.clientsKept)
  private var resets = TokenBuckets<String>(anHour: Accounts.resetsAnHour, capacity: Accounts.clientsKept)
  /// Those who come to sign in when there is no room.
  private var line: PasswordLine
  /// How many passwords of each client wait.
  private var waiting: [String: Int] = [:]
  /// How many of them were let in, and their account is looked up yet.
  private var lookedUp = 0
  /// How many of each client's are inside who came first.
  private var knownInside: [String: Int] = [:]
  /// How many of each client's are looked up who come from a device where somebody signed in before.
  private var knownLookedUp: [String: Int] = [:]

  /// - Parameter mails: `nil` where no mail is sent: addresses are taken at their word then, a taken one is told, and who
  ///   forgot their password is not helped.
  init(
    users: UserStore, mails: MailStore? = nil, use: AccountUse? = nil, hasher: PasswordHasher,
    sessions: Sessions, authenticator: Authenticator
  ) {
    self.users = users
    self.mails = mails
    self.use = use
    self.hasher = hasher
    line = PasswordLine(
      places: PasswordHasher.defaultCapacity / 2,
      insideMilliseconds: Double(hasher.longestWaitMilliseconds / 2))
    self.sessions = sessions
    self.authenticator = authenticator
  }

  func signUp(_ request: HTTPRequest) throws -> HTTPAnswer {
    let fields = try Fields(body: request, only: ["name", "email", "password"])
    let name = try fields.string("name", characters: Limits.nameCharacters)
    let email = try Self.email(fields, isNew: true)
    let password = try Self.newPassword(fields)
    let client = request.client
    if mails != nil { try Self.checkMail(email) }
    try takeSignUp(client)
    return answer { [self] in
      let response: HTTPResponse
      do {
        // By mail everything is the same for every address, whether it has an account or not: its mail says which.
        // Without, it is asked before, so that one that is taken does not cost a hash.
        let known = try await users.known(email.spellings)
        if mails == nil, known != nil { throw Self.taken }
        let hash = try await inPlace(of: client) {
          try await hasher.hash(PasswordText.spelling(password), places: Self.signUpPlaces)
        }
        if let mails {
          guard try await mails.ask(signUp: known ?? email.text, name: name, password: hash) else {
            throw Problem.overloaded
          }
          response = Self.mailed
        } else {
          guard let id = try await users.create(name: name, email: email.text, password: hash) else {
            throw Self.taken
          }
          response = .json(201, ["user_id": .string(id)])
        }
      } catch let problem as Problem where problem.code == Self.taken.code {
        // Counts: who asks for many addresses to learn which have an account gets slower.
        throw problem
      } catch {
        signUps.giveBack(client, now: Self.now)
        throw error
      }
      use?.count(.signUp, of: client)
      return response
    }
  }

  private static let taken = Problem(409, "email_taken", "There is an account with this address.")
  private static let mailed = HTTPResponse.json(
    202, ["state": "mailed"], headers: [("Cache-Control", "no-store")])

  private static func checkMail(_ email: EmailAddress) throws(Problem) {
    guard MailAddress(email.text) != nil else {
      throw .invalidField("email", "must be an address that mail can be sent to")
    }
  }

  /// Makes the account of whoever has the link of the mail and knows the password that was chosen for it: neither who has
  /// signed up somebody else's address, nor whom they have signed up, has both.
  func confirm(_ request: HTTPRequest) throws -> HTTPAnswer {
    guard let mails else { throw Self.noMail }
    let fields = try Fields(body: request, only: ["token", "password", "cookies"])
    let link = try Self.link(fields)
    let password = try fields.string("password", max: Limits.passwordBytes.upperBound)
    let inCookies = try fields.optionalBool("cookies") ?? false
    let attempt = SignInAttempts.Attempt(email: "link " + link.hash, client: request.client)
    try take(attempt)
    return answer { [self] in
      let user = try await counting(attempt) {
        guard let hash = try await mails.passwordToConfirm(link.hash) else { throw Self.linkEnded }
        guard try await inPlace(of: attempt.client, { try await matches(password, hash) }) else {
          throw Problem(403, "wrong_credentials", "The password is not the one that was chosen.")
        }
        guard let id = try await mails.confirm(link.hash) else { throw Self.linkEnded }
        return id
      }
      var response = sessions.begin(user, inCookies: inCookies)
      response.status = 201
      return response
    }
  }

  /// Has a link sent with which a new password is chosen. Answers the same whether there is such an account or not.
  func askForReset(_ request: HTTPRequest) throws -> HTTPAnswer {
    guard let mails else { throw Self.noMail }
    let email = try Self.email(try Fields(body: request, only: ["email"]))
    try Self.checkMail(email)
    let client = request.client
    let wait = resets.wait(client, now: Self.now)
    guard wait == 0 else {
      throw Problem(
        429, "too_many_mails", "Many mails were asked for from this place lately. Try again in a moment.",
        retryAfter: Self.seconds(wait))
    }
    resets.take(client, now: Self.now)
    return answer { [users] in
      let address = try await users.known(email.spellings) ?? email.text
      guard try await mails.ask(reset: address) else { throw Problem.overloaded }
      return Self.mailed
    }
  }

  /// Sets a new password by the link of a mail, ends all sessions, and begins a new one.
  func reset(_ request: HTTPRequest) throws -> HTTPAnswer {
    guard let mails else { throw Self.noMail }
    let fields = try Fields(body: request, only: ["token", "password", "cookies"])
    let link = try Self.link(fields)
    let password = try Self.newPassword(fields)
    let inCookies = try fields.optionalBool("cookies") ?? false
    let client = request.client
    return answer { [self] in
      // Looked at before: nobody's guesses are hashed. Used after: it is good as long as the password is not set.
      guard try await mails.mayReset(link.hash) else { throw Self.linkEnded }
      let hash = try await inPlace(of: client) { try await hasher.hash(PasswordText.spelling(password)) }
      let end = Sessions.end()
      guard let user = try await mails.reset(link.hash, password: hash, endingSessionsUpTo: end) else {
        throw Self.linkEnded
      }
      sessions.ended.end(user: user, upTo: end)
      return sessions.begin(user, inCookies: inCookies, now: end + 1)
    }
  }

  private static func link(_ fields: Fields) throws -> MailToken {
    // What is cut or mistyped is no more than a link that has ended, and no less.
    guard let token = MailToken(try fields.string("token", max: Limits.idempotencyKeyBytes)) else {
      throw linkEnded
    }
    return token
  }

  private static let noMail = Problem(404, "no_mail", "This installation sends no mail.")
  private static let linkEnded = Problem(
    410, "link_ended", "This link was used, or its time is over. Ask for a new one.")

  private func takeSignUp(_ client: String) throws(Problem) {
    let wait = signUps.wait(client, now: Self.now)
    guard wait == 0 else {
      throw Problem(
        429, "too_many_accounts", "Many accounts were made from this place lately. Try again in a moment.",
        retryAfter: Self.seconds(wait))
    }
    signUps.take(client, now: Self.now)
  }

  static var now: Int { Int(EventLoop.shared.now) }

  private static func seconds(_ milliseconds: Int) -> Int { (milliseconds + 999) / 1_000 }

  private static func newPassword(_ fields: Fields) throws(Problem) -> String {
    try PasswordText.new(fields, "password", bytes: Limits.passwordBytes)
  }

  private static let tooManyAtOnce = Problem(
    429, "too_many_at_once", "Too many passwords from this place wait to be checked.", retryAfter: 2)

  /// Does something with a password in one of its client's places.
  /// - Parameter known: who signed in on that device before: has places that are counted apart, so that others at the same
  ///   address take none of them.
  private func inPlace<R: Sendable>(
    of client: String, known: String? = nil, places: Int = Accounts.clientPlaces,
    _ work: @LoopActor () async throws -> R
  ) async throws -> R {
    let place = known.map { "\(client)\n\($0)" } ?? client
    guard waiting[place, default: 0] < (known == nil ? places : Self.knownPlaces) else {
      throw Self.tooManyAtOnce
    }
    waiting.add(1, to: place)
    if known != nil { knownInside.add(1, to: client) }
    defer {
      waiting.add(-1, to: place)
      if known != nil { knownInside.add(-1, to: client) }
    }
    return try await work()
  }

  func signIn(_ request: HTTPRequest) throws -> HTTPAnswer {
    let fields = try Fields(body: request, only: ["email", "password", "cookies", "refresh_token"])
    let email = try Self.email(fields)
    let password = try fields.string("password", max: Limits.passwordBytes.upperBound)
    let inCookies = try fields.optionalBool("cookies") ?? false
    let former = try fields.optionalString("refresh_token", max: SessionCoder.longestText)
    let client = request.client, owner = sessions.deviceOwner(request, token: former)
    return answer { [self] in
      // A session is as old as the password that was looked up for it: one that is changed meanwhile ends it, too. One
      // that was changed a moment ago is known with the password that it was changed to.
      let since = WallClock.milliseconds
      guard let user = try await verified(email, password, client: client, deviceOwner: owner) else {
        use?.count(.refusal, of: client)
        throw Problem(401, "wrong_credentials", "The address or the password is wrong.")
      }
      use?.count(.signIn, of: client)
      return sessions.begin(user.id, inCookies: inCookies, now: max(since, user.endedUpTo + 1))
    }
  }

  /// A token to look around with, for anybody: never in a cookie, where it would take the place of somebody's own.
  func lookAround(_ request: HTTPRequest) throws -> HTTPAnswer {
    if !request.body.isEmpty { _ = try Fields(body: request, only: []) }
    return .now(sessions.guestToken())
  }

  /// A new token for one that ends, by the refresh token in the body or in the page's cookie. Nothing is looked up.
  func renew(_ request: HTTPRequest) throws -> HTTPAnswer {
    let cookie = sessions.cookies.refreshToken(request)
    var text = cookie
    // A page sends no token in the body; its browser may have forgotten the cookie.
    if text == nil, !sessions.cookies.isOfPage(request) || !request.body.isEmpty {
      text = try Fields(body: request, only: ["refresh_token"]).string(
        "refresh_token", max: SessionCoder.longestText)
    }
    guard let text, let session = sessions.session(text) else {
      throw Problem(401, "session_ended", "The session has ended. Sign in again.")
    }
    return .now(sessions.answer(session, inCookies: cookie != nil))
  }

  /// Ends the session of the request's token, or all of its user's, on every device.
  func signOut(_ request: HTTPRequest) throws -> HTTPAnswer {
    let everywhere = try QueryItems(request, only: ["everywhere"]).optionalBool("everywhere") ?? false
    let session = try ownSession(request)
    return answer { [sessions] in
      if everywhere {
        try await sessions.endAll(of: session.user, upTo: Sessions.end())
      } else {
        try await sessions.end(session)
      }
      return HTTPResponse(status: 204, headers: [("Cache-Control", "no-store")] + sessions.cookies.clear)
    }
  }

  private func ownSession(_ request: HTTPRequest) throws(Problem) -> Session {
    guard let session = try authenticator.user(request).session else {
      throw Problem(409, "no_session", "This token does not belong to a session that began here.")
    }
    return session
  }

  /// Changes the password of who knows it, and ends all sessions but a new one, which is answered.
  func changePassword(_ request: HTTPRequest) throws -> HTTPAnswer {
    let user = try ownSession(request).user
    let fields = try Fields(body: request, only: ["current_password", "password"])
    let current = try fields.string("current_password", max: Limits.passwordBytes.upperBound)
    let password = try Self.newPassword(fields)
    let inCookies = sessions.cookies.accessToken(request) != nil
    // Counted like signing in: whoever has a token is not to find the password out by it.
    let attempt = SignInAttempts.Attempt(email: "user " + user, client: request.client)
    try take(attempt)
    return answer { [self] in
      let end = try await counting(attempt) {
        let former = try await users.password(of: user)
        let isRight = try await inPlace(of: attempt.client) { try await matches(current, former) }
        guard isRight else { throw Problem(403, "wrong_credentials", "The current password is wrong.") }
        let hash = try await inPlace(of: attempt.client) {
          try await hasher.hash(PasswordText.spelling(password))
        }
        // Whoever was quicker, by a link perhaps, has set another: this one was not asked for by who knows it.
        let end = Sessions.end()
        guard let former,
          try await users.setPassword(hash, of: user, instead: former, endingSessionsUpTo: end)
        else { throw Problem(403, "wrong_credentials", "The current password is wrong.") }
        return end
      }
      sessions.ended.end(user: user, upTo: end)
      return sessions.begin(user, inCookies: inCookies, now: end + 1)
    }
  }

  private func take(_ attempt: SignInAttempts.Attempt) throws(Problem) {
    let wait = attempts.take(attempt, now: Self.now)
    guard wait == 0 else {
      throw Problem(
        429, "too_many_attempts", "Too many attempts to sign in with this address.",
        retryAfter: Self.seconds(wait))
    }
  }

  /// Does what was attempted: a wrong password, told as 403, counts; what failed for another reason is no attempt.
  private func counting<R: Sendable>(
    _ attempt: SignInAttempts.Attempt, _ work: @LoopActor () async throws -> R
  ) async throws -> R {
    let result: R
    do {
      result = try await work()
    } catch let problem as Problem where problem.status == 403 {
      throw problem
    } catch {
      attempts.giveBack(attempt, now: Self.now)
      throw error
    }
    attempts.succeeded(attempt, now: Self.now)
    return result
  }

  /// - Returns: `nil` when the address or the password is wrong. What failed for another reason is no attempt.
  private func verified(
    _ email: EmailAddress, _ password: String, client: String, deviceOwner: String?
  ) async throws -> UserStore.Credentials? {
    // Nobody is looked up while they wait. Who may be known here is, to find out: a few of each client's at a time.
    let deviceOwner = knownLookedUp[client, default: 0] < Self.knownOfClient ? deviceOwner : nil
    var ticket: Int?, hasEntered = false
    if deviceOwner == nil { (ticket, hasEntered) = (try enter(email.text, client), true) }
    do {
      let user = try await credentials(of: email, client: client, isKnown: deviceOwner != nil)
      // Of the device's own user alone: with their own device strangers are strangers.
      let isKnown = user != nil && user?.id == deviceOwner
      let comesFirst =
        isKnown && hasher.hasRoomForKnown && knownInside[client, default: 0] < Self.knownOfClient
      if deviceOwner != nil, !comesFirst { (ticket, hasEntered) = (try enter(email.text, client), true) }
      return try await verified(
        user, password,
        SignInAttempts.Attempt(email: email.text, client: client, device: isKnown ? deviceOwner : nil),
        comesFirst: comesFirst)
    } catch {
      if hasEntered, ticket != nil || Self.isForRoom(error) {
        line.giveBack(.init(name: email.text, client: client), ticket: ticket, now: Self.now)
      }
      throw error
    }
  }

  /// Whether somebody who had been let in found no room all the same.
  private static func isForRoom(_ error: any Error) -> Bool {
    (error as? AuthError)?.code == .busy || (error as? Problem)?.code == tooManyAtOnce.code
  }

  /// Whoever was let in is inside at once, and not when the account was found: a burst is let in within one turn of the
  /// loop, and would pass the line by. From here to their place among the passwords nothing is waited for.
  /// - Parameter isKnown: whether they may be known here, and were not let in yet.
  private func credentials(
    of email: EmailAddress, client: String, isKnown: Bool
  ) async throws -> UserStore.Credentials? {
    if isKnown {
      knownLookedUp.add(1, to: client)
      defer { knownLookedUp.add(-1, to: client) }
      return try await users.credentials(email.spellings)
    }
    lookedUp += 1
    waiting.add(1, to: client)
    defer {
      lookedUp -= 1
      waiting.add(-1, to: client)
    }
    return try await users.credentials(email.spellings)
  }

  private func verified(
    _ user: UserStore.Credentials?, _ password: String, _ attempt: SignInAttempts.Attempt, comesFirst: Bool
  ) async throws -> UserStore.Credentials? {
    try take(attempt)
    do {
      // Also without a user a password is verified, so that the time does not tell who has an account.
      let isRight = try await inPlace(
        of: attempt.client, known: comesFirst ? attempt.device : nil, places: placesOfClient
      ) {
        try await matches(password, user?.password, isKnown: comesFirst)
      }
      guard isRight, let user else { return nil }
      attempts.succeeded(attempt, now: Self.now)
      return user
    } catch {
      attempts.giveBack(attempt, now: Self.now)
      throw error
    }
  }

  /// Of one client, of those who sign in.
  private var placesOfClient: Int {
    min(Self.clientPlaces, max(1, line.room(millisecondsEach: hasher.millisecondsEach) / Self.clientShare))
  }

  /// Lets somebody in who signs in, or tells them when to come again.
  /// - Returns: the ticket that they had.
  private func enter(_ email: String, _ client: String) throws(Problem) -> Int? {
    let load = PasswordLine.Load(
      inside: hasher.waitingOthers + lookedUp, done: hasher.doneOthers,
      millisecondsEach: hasher.millisecondsEach)
    let mayEnter = waiting[client, default: 0] < placesOfClient
    switch line.come(.init(name: email, client: client), load, mayEnter: mayEnter, now: Self.now) {
    case .enter(let ticket): return ticket
    case .comeAgain(let seconds):
      throw Problem(
        503, "overloaded",
        "Many people sign in just now. You have a place among them: come again in a while.",
        retryAfter: seconds)
    }
  }

  /// The same letters may be typed in two ways. An account of a version before has its password as it was typed.
  private func matches(_ password: String, _ hash: String?, isKnown: Bool = false) async throws -> Bool {
    let composed = PasswordText.spelling(password)
    if try await hasher.verify(composed, against: hash, isKnown: isKnown) { return true }
    if composed.utf8.elementsEqual(password.utf8) { return false }
    return try await hasher.verify(password, against: hash, isKnown: isKnown)
  }

  private static func email(_ fields: Fields, isNew: Bool = false) throws(Problem) -> EmailAddress {
    let typed = try fields.string("email", max: Limits.emailBytes)
    do throws(EmailAddress.Refusal) { return try EmailAddress(typed, isNew: isNew) } catch {
      throw .invalidField("email", error.reason)
    }
  }
}

extension [String: Int] {
  /// What is none is not kept.
  fileprivate mutating func add(_ count: Int, to key: String) {
    let sum = self[key, default: 0] + count
    self[key] = sum > 0 ? sum : nil
  }
}

/// How often each address may be tried, so that guessing a password takes longer than it is worth.
///
/// Counted for each client that tries, so that nobody can keep the owner of an address out by guessing, and, with a
/// higher limit, for the address alone, so that many clients do not get many times as far. Of each process.
struct SignInAttempts {
  /// At once; beyond them one after each interval, in milliseconds.
  static let limit = 10
  static let interval = 60_000
  /// For all clients together.
  static let addressLimit = 100
  static let addressInterval = 6_000
  private static let capacity = 50_000

  struct Attempt: Sendable {
    let email: String
    let client: String
    /// Whose the address is, if they signed in before on the device that it comes from.
    var device: String?

    /// A device on which somebody signed in before counts by itself.
    fileprivate var own: Own { Own(email: email, client: device == nil ? client : nil, device: device) }
  }

  fileprivate struct Own: Hashable {
    let email: String
    let client: String?
    let device: String?
  }

  private var own = TokenBuckets<Own>(
    burst: Self.limit, interval: Self.interval, capacity: Self.capacity)
  private var all = TokenBuckets<String>(
    burst: Self.addressLimit, interval: Self.addressInterval, capacity: Self.capacity)

  /// Counts an attempt, if there may be one more.
  /// - Parameter now: milliseconds, on any clock that only goes forward.
  /// - Returns: milliseconds until there may be one; 0 if this one is counted.
  mutating func take(_ attempt: Attempt, now: Int) -> Int {
    // Strangers who guess keep nobody out who signed in here before.
    let wait = max(
      own.wait(attempt.own, now: now), attempt.device == nil ? all.wait(attempt.email, now: now) : 0)
    guard wait == 0 else { return wait }
    own.take(attempt.own, now: now)
    all.take(attempt.email, now: now)
    return 0
  }

  /// The attempt did not come to an answer, through no fault of the client's.
  mutating func giveBack(_ attempt: Attempt, now: Int) {
    own.giveBack(attempt.own, now: now)
    all.giveBack(attempt.email, now: now)
  }

  mutating func succeeded(_ attempt: Attempt, now: Int) {
    all.giveBack(attempt.email, now: now)
    own.fill(attempt.own)
  }
}
