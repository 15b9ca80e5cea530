import EventLoop
import HTTPClient

/// Sends through the system's own client. Speaks TLS, and costs more work a request than `WireTransport`.
@LoopActor
final class CurlTransport: Transport {
  private let client: HTTPClient
  private let base: String

  init(base: String, connections: Int) {
    self.base = base
    var configuration = HTTPClientConfiguration()
    configuration.connectionsPerHost = connections
    client = HTTPClient(configuration)
  }

  func send(
    _ request: BuyerRequest, timeoutMilliseconds: Int, _ done: @escaping @LoopActor (BuyerResponse) -> Void
  ) {
    var headers: [(name: String, value: String)] = []
    if let token = request.token { headers.append(("Authorization", "Bearer \(token)")) }
    if !request.body.isEmpty { headers.append(("Content-Type", "application/json")) }
    let sent = HTTPClientRequest(
      method: request.method, url: base + request.path, headers: headers, body: Array(request.body.utf8),
      timeoutMilliseconds: timeoutMilliseconds)
    // Ends with the request, which has a timeout; the caller bounds how many there are.
    Task { @LoopActor in
      do {
        let response = try await client.send(sent)
        done(
          .answer(
            status: response.status, retryAfterSeconds: response.header("Retry-After").flatMap { Int($0) },
            body: response.body))
      } catch let error as HTTPClientError {
        done(.failure(code: error.code.description))
      } catch {
        done(.failure(code: "cancelled"))
      }
    }
  }

  func close() { client.close() }
}
