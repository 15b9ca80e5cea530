package import EventLoop
import Foundation
import Ledger
import Logging
import Postgres
import Queue
import Redis
import Sale
import StoreCommon
import Text

/// `onsale admin`: the operator's commands at a terminal and in scripts.
///
/// What was asked for goes to standard output, everything else to standard error. Exit codes are those of
/// sysexits.h: 0 done, 64 the command line or environment is wrong, 65 a file is, 69 a server is away, 1
/// refused.
@LoopActor
package struct AdminCommand {
  static let usage = """
    Usage: onsale admin <command>

      token [--role organizer|manager|customer] [--user ID] [--hours N]
                                   a bearer token, signed with ONSALE_JWT_SECRET; for an organizer, 12 h
      create-event FILE [--open] [--owner USER] [--organization NAME …]
                                   makes the event that FILE describes, the body of POST /api/admin/events; of who is
                                   at the terminal, as `token` has them, unless USER is named, and shared by
                                   the organizations
      import --events FILE [--owner USER] [--organization NAME …]
                                   makes many, one JSON object a line; those whose `key` is there are left out
      import --tickets ID FILE [--price CATEGORY:PRICE …] [--capacity AREA:NUMBER …]
                     [--charset NAME]
                                   adds tickets from a .csv file, a seating plan or a list of sections
      open ID, resume ID, close ID
      pause ID                     nobody is granted seats, and the time of holds stands still; they may be paid
      stop ID                      the same, and no payment starts
      resume ID --despite          a sale that was stopped by itself goes on before its cause is gone
      postpone ID [--keep-open]    the event takes place on a date that is not known yet: what was bought stays valid, and the
                                   sale is stopped, unless it is kept open
      date ID TIME                 when it takes place, such as 2032-05-01T19:30 on the clocks of its venue; an event that was
                                   postponed has its date again, and `resume` sells on
      message ID TEXT              shown to everyone in line; an empty text takes it away
      rate ID N|unlimited          grants per second
      list                         all events
      status [ID]                  where the sale stands, of one event or of all that are under way
      stats ID                     the same in full, as JSON
      log ID                       who changed what, and when
      owner ID USER [--organization NAME … | --alone]
                                   the event is USER's from now on: they change it, and managers, and whoever shares
                                   one of the organizations: those of before, or those that are named, or none
      price ID SECTION PRICE [TICKET …]
                                   what the tickets of a section cost from now on, or some of them, in minor units;
                                   what somebody holds or has bought keeps its price
      purchases ID [--user USER] [--ticket TICKET]
                                   what was bought
      refund REQUEST [TICKET …] [--block]
                                   gives a purchase back, or some of its tickets, which are for sale again then, or
                                   blocked; carried out by workers
      cancel ID --reason TEXT [--no-wait]
                                   the event does not take place: its sale is closed for good, and whoever has bought
                                   gets their money back; shows how far that is, also when it is asked for again
      refunds ID                   what was given back, and what becomes of it
      refunds dead [ID]            dead letters: refunds that failed and are not tried again
      refunds resume ID REFUND     one of them, or `all` of the event, is tried again
      refunds close ID REFUND      one that was settled in another way: nothing more comes of it
      accounts [--hours N]         addresses that made accounts and signed in most, in the last 24 hours or so many, up
                                   to 48, and how many cards were refused there within the last one
      accounts --spellings         addresses that have several accounts, of versions that took their spellings for
                                   several addresses
      payment REQUEST              what is known of a payment, here and at the provider
      payment REQUEST void         one that is under way is given up, and what there is of it cancelled
      payment REQUEST resolve      one that is under way ends as the provider has it
      dead-letters [list]          confirmations that failed too often
      dead-letters requeue ENTRY   one of them, or `all`, is tried again
      webhooks [list]              systems outside that are told of sales, and what waits for each
      webhooks add URL [--types TYPE,…] [--events ID,…] [--organizer USER]
                                   one more, and the secret with which its messages are signed; it hears of
                                   everything unless types, events, or whose events are named
      webhooks rotate N            another secret; the former one signs, too, for a day
      webhooks remove N            it hears no more, and what waits for it is dropped
      webhooks dead [N]            dead letters: messages that were not taken for three days
      webhooks replay N MESSAGE    a dead letter, or `all`, is sent again
      webhooks drop N MESSAGE      a dead letter, or `all`, is forgotten
      webhooks resend N ID         tells of all that is sold of an event, again
      reindex                      builds the search index anew

    FILE may be - for standard input, REQUEST the id that its buyer has, or EVENT-GENERATION-POSITION.
    Settings come from ONSALE_DATABASE_URL and ONSALE_REDIS_URL, for payments also from ONSALE_PAYMENT_….

    """

  /// Ends the command with a message and a code.
  struct Failure: Error {
    let code: Int32
    let message: String

    static func usage(_ message: String) -> Failure { Failure(code: 64, message: message) }
    static func file(_ message: String) -> Failure { Failure(code: 65, message: message) }
    static func refused(_ message: String) -> Failure { Failure(code: 1, message: message) }
  }

  let environment: [String: String]
  let reindex: Reindex

  /// Builds the search index anew, tells now and then how many events of how many are done, and returns how many
  /// are in it.
  package typealias Reindex = @LoopActor (@escaping @LoopActor (Int, Int) -> Void) async throws -> Int

  /// - Parameters:
  ///   - arguments: those behind `admin`.
  ///   - reindex: builds the search index anew and returns how many events are in it.
  /// - Returns: the process's exit code.
  package static func run(
    arguments: [String], environment: [String: String], reindex: @escaping Reindex
  ) async -> Int32 {
    guard let command = arguments.first else {
      report(usage)
      return 64
    }
    if ["help", "--help", "-h"].contains(command) {
      print(usage, terminator: "")
      return 0
    }
    Logger.configure(level: .error)
    do {
      let program = AdminCommand(environment: environment, reindex: reindex)
      try await program.perform(command, Arguments(Array(arguments.dropFirst())))
      return 0
    } catch {
      let failure = failure(for: error)
      report("onsale admin \(command): \(Escaping.terminal(failure.message, keepsLines: true))\n")
      return failure.code
    }
  }

  private static func report(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }

  private func perform(_ command: String, _ arguments: Arguments) async throws {
    var arguments = arguments
    switch command {
    case "token": try token(&arguments)
    case "create-event": try await createEvent(&arguments)
    case "import": try await importFile(&arguments)
    case "open": try await move(&arguments, to: .open)
    case "pause": try await move(&arguments, to: .paused)
    case "stop": try await move(&arguments, to: .paused, stops: true)
    case "resume": try await move(&arguments, to: .open, from: [.paused, .open])
    case "close": try await move(&arguments, to: .closed)
    case "postpone": try await postpone(&arguments)
    case "date": try await setDate(&arguments)
    case "message": try await setMessage(&arguments)
    case "rate": try await setRate(&arguments)
    case "list": try await list(&arguments)
    case "status": try await status(&arguments)
    case "stats": try await stats(&arguments)
    case "log": try await log(&arguments)
    case "owner": try await setOwner(&arguments)
    case "price": try await setPrice(&arguments)
    case "purchases": try await purchases(&arguments)
    case "refund": try await refund(&arguments)
    case "cancel": try await cancelEvent(&arguments)
    case "refunds": try await refunds(&arguments)
    case "accounts": try await accounts(&arguments)
    case "payment": try await payment(&arguments)
    case "dead-letters": try await deadLetters(&arguments)
    case "webhooks": try await webhooks(&arguments)
    case "reindex":
      try arguments.finish()
      let progress = ProgressBar("events")
      let count = try await reindex { done, all in progress.show(done, of: all) }
      progress.clear()
      print("\(count) events are in the index")
    default: throw Failure.usage("there is no such command; `onsale admin help` lists them")
    }
  }

  // MARK: Servers

  struct Servers {
    let events: EventStore
    let refunds: RefundStore
    let queue: QueueStore
    let clients: ClientUseStore
    let users: UserStore
  }

  /// Runs `body` with connections to PostgreSQL and Redis, which are closed after it.
  func withServers<R>(_ body: @LoopActor (Servers) async throws -> R) async throws -> R {
    let logger = Logger(label: "admin")
    let (postgresURL, redisURL, rejoinSeconds) = try serverSettings()
    var configuration = try PostgresConfiguration(
      url: postgresURL, connections: 2, statementTimeoutMilliseconds: 60_000)
    configuration.poolerKeepsSessions = environment["ONSALE_DATABASE_POOLER"] == "session"
    let postgres = PostgresClient(configuration, logger: logger)
    let redis = RedisClient(
      try RedisConfiguration(url: redisURL), logger: logger, prepare: QueueStore.prepare)
    postgres.start()
    redis.start()
    defer {
      postgres.close()
      redis.close()
    }
    try await postgres.waitUntilReady(milliseconds: 5_000)
    try await redis.waitUntilReady(milliseconds: 5_000)
    let events = EventStore(postgres, rejoinSeconds: rejoinSeconds)
    return try await body(
      Servers(
        events: events, refunds: RefundStore(postgres), queue: QueueStore(redis),
        clients: ClientUseStore(postgres), users: UserStore(postgres)))
  }

  /// As the servers read them; all that is wrong with them is told at once.
  private func serverSettings() throws(Failure) -> (postgres: String, redis: String, rejoinSeconds: Int) {
    var mistakes: [String] = []
    func value(_ name: String) -> String {
      do throws(Failure) { return try setting(name) } catch {
        mistakes.append(error.message)
        return ""
      }
    }
    let postgres = value("ONSALE_DATABASE_URL"), redis = value("ONSALE_REDIS_URL")
    var rejoinSeconds = EventStore.defaultRejoinSeconds
    if let text = environment["ONSALE_REJOIN_SECONDS"], !text.isEmpty {
      let range = EventStore.allowedRejoinSeconds
      if let seconds = Int(text), range.contains(seconds) {
        rejoinSeconds = seconds
      } else {
        mistakes.append(
          "ONSALE_REJOIN_SECONDS must be a number from \(range.lowerBound) to \(range.upperBound)")
      }
    }
    guard mistakes.isEmpty else { throw .usage(mistakes.joined(separator: "\n")) }
    return (postgres, redis, rejoinSeconds)
  }

  func setting(_ name: String) throws(Failure) -> String {
    guard let value = environment[name], !value.isEmpty else { throw .usage("\(name) is not set") }
    return value
  }

  /// Who is noted for what is changed here.
  var who: String { "cli:" + (environment["SUDO_USER"] ?? environment["USER"] ?? NSUserName()) }

  private static func failure(for error: any Error) -> Failure {
    switch error {
    case let error as Failure: return error
    case let error as PostgresError where error.code != .server:
      return Failure(code: 69, message: "PostgreSQL is not available: \(error.message)")
    case let error as RedisError where error.code == .unavailable || error.outcomeIsUnknown:
      return Failure(code: 69, message: "Redis is not available: \(error.message)")
    case let error as StoreError: return .refused(error.message)
    default: return .refused("\(error)")
    }
  }
}

/// The words behind a command, taken one after the other.
struct Arguments {
  private var words: [String]

  init(_ words: [String]) { self.words = words }

  /// The value of `--name`, wherever it stands.
  mutating func option(_ name: String) throws(AdminCommand.Failure) -> String? {
    guard let index = words.firstIndex(of: "--" + name) else { return nil }
    guard index + 1 < words.count else { throw .usage("--\(name) needs a value") }
    let value = words[index + 1]
    words.removeSubrange(index...index + 1)
    return value
  }

  mutating func flag(_ name: String) -> Bool {
    guard let index = words.firstIndex(of: "--" + name) else { return false }
    words.remove(at: index)
    return true
  }

  mutating func next(_ what: String) throws(AdminCommand.Failure) -> String {
    guard let word = optional() else { throw .usage("\(what) is missing") }
    return word
  }

  mutating func optional() -> String? { words.isEmpty ? nil : words.removeFirst() }

  mutating func event() throws(AdminCommand.Failure) -> Int {
    try Self.event(try next("the event's id"))
  }

  static func event(_ word: String) throws(AdminCommand.Failure) -> Int {
    guard let id = Int(word), id > 0 else { throw .usage("\"\(word)\" is not the id of an event") }
    return id
  }

  /// Nothing may be left.
  func finish() throws(AdminCommand.Failure) {
    if let word = words.first { throw .usage("\"\(word)\" is not understood here") }
  }
}
