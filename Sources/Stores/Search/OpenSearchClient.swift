import EventLoop
import HTTPClient
import JSON

/// Calls of OpenSearch's (and Elasticsearch's) REST API.
@LoopActor
final class OpenSearchClient {
  /// Milliseconds a search may take, and a write or a change of an index.
  private static let searchTimeout = 2_000
  private static let writeTimeout = 30_000

  private let http: HTTPClient
  private let url: String

  /// - Parameter url: of the cluster, without a path.
  init(_ http: HTTPClient, url: String) {
    self.http = http
    self.url = url.hasSuffix("/") ? String(url.dropLast()) : url
  }

  struct Response {
    let status: Int
    let body: JSON

    var isSuccess: Bool { (200..<300).contains(status) }
    /// OpenSearch's own word for what is wrong.
    var errorType: String? { body["error"]?["type"]?.string }
  }

  /// - Throws: `SearchError` unless the answer's status is 2xx or one of `accepting`.
  func call(_ method: String, _ path: String, _ body: JSON? = nil, accepting: Set<Int> = []) async throws
    -> Response
  {
    try await send(method, path, body?.serialized() ?? [], "application/json", accepting)
  }

  /// A bulk request: lines of JSON.
  func bulk(_ path: String, _ lines: [JSON]) async throws -> Response {
    var body: [UInt8] = []
    for line in lines {
      body += line.serialized()
      body.append(UInt8(ascii: "\n"))
    }
    return try await send("POST", path, body, "application/x-ndjson", [])
  }

  private func send(
    _ method: String, _ path: String, _ body: [UInt8], _ type: String, _ accepting: Set<Int>
  ) async throws -> Response {
    let timeout = path.hasSuffix("/_search") ? Self.searchTimeout : Self.writeTimeout
    let request = HTTPClientRequest(
      method: method, url: url + path, headers: body.isEmpty ? [] : [("Content-Type", type)], body: body,
      timeoutMilliseconds: timeout)
    let answer: HTTPClientResponse
    do {
      answer = try await http.send(request)
    } catch let error as HTTPClientError {
      throw SearchError(.unavailable, error.description)
    }
    let json = (try? JSON(parsing: answer.body)) ?? .null
    let response = Response(status: answer.status, body: json)
    if response.isSuccess || accepting.contains(answer.status) { return response }
    let reason = json["error"]?["reason"]?.string ?? ""
    let message = "\(method) \(path): \(answer.status) \(response.errorType ?? "") \(reason.prefix(200))"
    // Not found: the index is still to be made, which is the indexer's.
    throw SearchError(
      answer.status == 404 || answer.status == 429 || answer.status >= 502 ? .unavailable : .unexpectedAnswer,
      message)
  }
}
