import EventLoop
import Foundation
import HTTPClient
import JSON
import Logging
import PaymentStub
import Payments

/// A running stub with a ledger in a directory of its own, and clients for it.
@LoopActor
final class Provider {
  let ledger: String
  private(set) var stub: PaymentStub
  private(set) var http: HTTPClient
  private(set) var payments: StripePaymentClient

  var url: String { "http://127.0.0.1:\(stub.port)" }

  private init(ledger: String, stub: PaymentStub) {
    self.ledger = ledger
    self.stub = stub
    http = HTTPClient()
    payments = StripePaymentClient(http, url: "http://127.0.0.1:\(stub.port)", secretKey: "sk_test_1")
  }

  static func with(_ body: @LoopActor (Provider) async throws -> Void) async throws {
    let directory = FileManager.default.temporaryDirectory.appending(path: "payments-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let ledger = directory.appending(path: "ledger").path
    let provider = Provider(ledger: ledger, stub: try await start(ledger))
    do { try await body(provider) } catch {
      await provider.stop()
      throw error
    }
    await provider.stop()
  }

  static func start(_ ledger: String) async throws -> PaymentStub {
    let stub = PaymentStub(
      PaymentStubConfiguration(port: 0, ledger: ledger, key: "sk_test_1"), logger: Logger(label: "test"))
    do { try await stub.start() } catch {
      await stub.stop()
      throw error
    }
    return stub
  }

  private func stop() async {
    http.close()
    await stub.stop()
  }

  /// Stops the stub, lets `change` at its ledger, and starts it anew.
  func restart(_ change: (String) throws -> Void = { _ in }) async throws {
    await stop()
    try change(ledger)
    stub = try await Self.start(ledger)
    http = HTTPClient()
    payments = StripePaymentClient(http, url: url, secretKey: "sk_test_1")
  }

  /// A client that does not wait long.
  func impatient(milliseconds: Int = 1_000) -> StripePaymentClient {
    StripePaymentClient(http, url: url, secretKey: "sk_test_1", timeoutMilliseconds: milliseconds)
  }

  func inject(_ faults: JSON) async throws {
    let response = try await http.send(
      HTTPClientRequest(
        method: "POST", url: url + "/stub/faults", headers: [("Authorization", "Bearer sk_test_1")],
        body: faults.serialized()))
    guard response.status == 200 else {
      throw HTTPClientError(code: .timeout, message: "faults", nothingWasSent: false)
    }
  }

  func summary() async throws -> JSON {
    try await get("/stub/ledger")
  }

  /// Sends a form as it is and returns the status, the JSON and whether it was replayed.
  func post(
    _ path: String, _ form: String, key: String? = nil, authorization: String = "Bearer sk_test_1"
  ) async throws -> (status: Int, json: JSON, isReplayed: Bool) {
    var headers = [(name: "Authorization", value: authorization)]
    if let key { headers.append(("Idempotency-Key", key)) }
    let response = try await http.send(
      HTTPClientRequest(method: "POST", url: url + path, headers: headers, body: Array(form.utf8)))
    return (
      response.status, try JSON(parsing: response.body), response.header("Idempotent-Replayed") == "true"
    )
  }

  func get(_ path: String) async throws -> JSON {
    let response = try await http.send(
      HTTPClientRequest(url: url + path, headers: [("Authorization", "Bearer sk_test_1")]))
    return try JSON(parsing: response.body)
  }

  nonisolated static func order(
    _ reference: String, amount: Int = 4200, method: String = "pm_card_visa"
  ) -> PaymentOrder {
    PaymentOrder(
      reference: reference, amount: amount, currency: "EUR", method: method, metadata: ["event": "7"])
  }
}

extension PaymentOutcome {
  var payment: Payment? { if case .authorised(let payment) = self { payment } else { nil } }
  var declineCode: String? { if case .declined(_, let code, _) = self { code } else { nil } }
}

/// Why a call failed; `nil` if it did not, or not by a `PaymentError`.
@LoopActor
func code(_ body: @LoopActor () async throws -> Void) async -> PaymentError.Code? {
  do {
    try await body()
    return nil
  } catch {
    return (error as? PaymentError)?.code
  }
}
