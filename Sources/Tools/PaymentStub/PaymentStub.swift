package import EventLoop
import Foundation
import HTTPClient
import HTTPServer
import JSON
import Lifecycle
package import Logging

/// Stands in for the payment provider: the part of Stripe's API that manual capture needs, as a process of its
/// own with a durable ledger.
///
/// Nothing is answered before it is on disk, so a client that was told of an authorisation finds it again after
/// a crash of the stub. Faults are injected on demand, by `POST /stub/faults`.
@LoopActor
package final class PaymentStub: Service {
  package let name = "payments"
  let configuration: PaymentStubConfiguration
  let logger: Logger
  var book = PaymentBook()
  var faults = FaultInjector()
  /// Idempotency keys of requests under way, with their fingerprints.
  var keysInUse: [String: UInt64] = [:]
  /// Requests answered from their key.
  var replays = 0
  /// Where messages go; `nil` for nowhere.
  var webhook: WebhookTarget?
  /// Messages that are under way.
  var messages = 0
  let http = HTTPClient()
  /// Where buyers find the pages of the stub.
  var url: String {
    configuration.publicURL.isEmpty ? "http://\(configuration.host):\(port)" : configuration.publicURL
  }
  /// What the form made and nobody has used: the methods of tokens, and these in the order in which they were made.
  var tokens: [String: String] = [:]
  var tokenOrder: [String] = []
  private(set) var isStopping = false
  private var ledger: LedgerFile?
  private var server: HTTPServer?

  /// The port listened at, once started.
  package var port: UInt16 { server?.port ?? configuration.port }

  package init(_ configuration: PaymentStubConfiguration, logger: Logger) {
    self.configuration = configuration
    self.logger = logger
    webhook = configuration.webhook.map { WebhookTarget(url: $0.url, secret: $0.secret) }
  }

  /// Reads the ledger and listens.
  /// - Throws: if the ledger is in use, or has a line before its end that is not a record.
  package func start() async throws {
    let ledger = try LedgerFile(path: configuration.ledger)
    self.ledger = ledger
    try await ledger.load { line in
      guard let record = LedgerRecord(line: line) else {
        throw LedgerFile.Failure(description: "bad ledger line")
      }
      try book.apply(record)
    }
    logger.info(
      "ledger read", ["ledger.payments": book.intents.count, "ledger.records": book.records])
    var serverConfiguration = HTTPServerConfiguration(host: configuration.host, port: configuration.port)
    serverConfiguration.stopMilliseconds = 2_000
    for intent in book.intents where intent.state.status == .processing {
      Task { @LoopActor in await process(intent.id) }
    }
    let server = HTTPServer(serverConfiguration, router: router(), logger: logger)
    self.server = server
    try await server.start()
  }

  package func stop() async {
    isStopping = true
    http.close()
    await server?.stop()
    await ledger?.close()
  }

  private func router() -> Router {
    var router = Router()
    addMutations(to: &router)
    addReads(to: &router)
    addDisputes(to: &router)
    addControls(to: &router)
    addBank(to: &router)
    addForm(to: &router)
    return router
  }

  /// Checks the key of the request, sent as a bearer token or as the user name of basic authentication.
  func refusal(of request: HTTPRequest) -> HTTPResponse? {
    let failure = StripeFailure(
      status: 401, type: "invalid_request_error", message: "Invalid API Key provided.")
    guard let header = request.header("Authorization") else { return failure.response }
    var given = ""
    if header.hasPrefix("Bearer ") {
      given = String(header.dropFirst(7))
    } else if header.hasPrefix("Basic "), let data = Data(base64Encoded: String(header.dropFirst(6))) {
      given = String(decoding: data.prefix { $0 != UInt8(ascii: ":") }, as: UTF8.self)
    }
    return given == configuration.key ? nil : failure.response
  }

  /// Applies a record and returns what it is answered, once it is on disk.
  func commit(_ record: LedgerRecord) async throws -> PaymentBook.Answer {
    guard let ledger else { throw LedgerFile.Failure(description: "not started") }
    let answer = try book.apply(record)
    try await ledger.append(record.line)
    return answer
  }

  /// Waits until what the book has is on disk, so that nobody reads what a crash would take back.
  func settled() async throws { try await ledger?.flush() }

  /// What an answer is sent as; the same each time.
  func response(_ answer: PaymentBook.Answer) -> HTTPResponse {
    switch answer.subject {
    case .intent(let index, let state):
      let json = book.intents[index].json(state, at: url)
      if answer.status == 402 { return StripeFailure.declined(state.decline ?? "", intent: json).response }
      if answer.status == 500 { return StripeFailure.internalError.response }
      return .json(answer.status, json)
    case .refund(let index):
      return answer.status == 500
        ? StripeFailure.internalError.response : .json(answer.status, refundJSON(index))
    case .none: return StripeFailure.internalError.response
    }
  }

  /// - Parameter tellsOfPayment: whether the payment stands in it, and not its id alone.
  func refundJSON(_ index: Int, tellsOfPayment: Bool = false) -> JSON {
    let refund = book.refunds[index]
    guard let intent = book.index(of: refund.intent).map({ book.intents[$0] }) else { return nil }
    return refund.json(
      charge: intent.chargeID, currency: intent.currency,
      intent: tellsOfPayment ? .some(intent.json(at: url)) : .none)
  }

  func disputeJSON(_ index: Int, tellsOfPayment: Bool = false) -> JSON {
    let dispute = book.disputes[index]
    guard let intent = book.index(of: dispute.intent).map({ book.intents[$0] }) else { return nil }
    return dispute.json(
      charge: intent.chargeID, currency: intent.currency,
      intent: tellsOfPayment ? .some(intent.json(at: url)) : .none)
  }

  private func addControls(to router: inout Router) {
    let refuse: @LoopActor (HTTPRequest) -> HTTPResponse? = { [unowned self] in refusal(of: $0) }
    router.on(.post, "/stub/faults", refuse: refuse) { [unowned self] request in
      do throws(StripeFailure) {
        guard let json = try? JSON(parsing: request.body) else { throw .invalid("The body is not JSON.") }
        faults.set(try FaultSettings(json))
        logger.notice("faults set", ["faults": faults.settings.json.text])
        return .now(.json(200, faults.settings.json))
      } catch {
        return .now(error.response)
      }
    }
    // As after the time that the provider remembers them.
    router.on(.post, "/stub/keys/forget", refuse: refuse) { [unowned self] _ in
      book.forgetKeys()
      return .now(.json(200, ["keys": .integer(book.keys.count)]))
    }
    router.on(.post, "/stub/payments/{id}/{event}", refuse: refuse) { [unowned self] request in
      let (id, event) = (request.parameters["id"] ?? "", request.parameters["event"] ?? "")
      return .later { [self] in
        do throws(StripeFailure) { return try await happen(event, to: id) } catch { return error.response }
      }
    }
    addDashboard(to: &router, refuse)
    router.on(.get, "/stub/faults", refuse: refuse) { [unowned self] _ in
      .now(.json(200, faults.settings.json))
    }
    router.on(.get, "/stub/ledger", refuse: refuse) { [unowned self] _ in .now(.json(200, summary())) }
    router.on(.get, "/healthz") { _ in .now(.text(200, "ok\n")) }
    router.on(.get, "/readyz") { _ in .now(.text(200, "ok\n")) }
  }

  /// Counts and sums over the ledger, to compare with what was sold.
  private func summary() -> JSON {
    var statuses: [String: Int] = [:]
    var captured = 0
    var open = 0
    for intent in book.intents {
      statuses[intent.state.status.rawValue, default: 0] += 1
      captured += intent.state.received
      if intent.state.status == .requiresCapture { open += intent.amount }
    }
    func object(_ counts: [String: Int]) -> JSON {
      .object(counts.sorted { $0.key < $1.key }.map { (name: $0.key, value: JSON.integer($0.value)) })
    }
    return [
      "payments": .integer(book.intents.count), "statuses": object(statuses),
      "captures": .integer(book.intents.count { $0.state.received > 0 }),
      "captured_amount": .integer(captured),
      "open_amount": .integer(open), "refunds": .integer(book.refunds.count),
      "refunded_amount": .integer(book.refunds.reduce(0) { $0 + $1.amount }),
      "keys": .integer(book.keys.count), "replays": .integer(replays), "records": .integer(book.records),
      "bytes": .integer(ledger?.size ?? 0), "faults_injected": object(faults.injected),
    ]
  }
}
