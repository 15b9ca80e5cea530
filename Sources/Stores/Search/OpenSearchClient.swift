import EventLoop
import HTTPClient
import JSON
import Logging
import Metrics

/// Calls of OpenSearch's (and Elasticsearch's) REST API.
@LoopActor
final class OpenSearchClient {
  /// Milliseconds a search may take, and a write or a change of an index.
  private static let searchTimeout = 2_000
  /// The part of it that a node has if another one can be asked, so that there is time left for that.
  private static let firstShare = 0.45
  /// With less time than this left nobody else is asked.
  private static let leastTimeout = 200
  private static let writeTimeout = 30_000

  /// A look at a node that is left out.
  private static let lookTimeout = 2_000

  private let http: HTTPClient
  private let logger: Logger
  private var nodes: SearchNodes
  private var random = SystemRandomNumberGenerator()
  private let nodesOut = MetricsRegistry.shared.gauge(
    "onsale_search_nodes_out", "Nodes of the search cluster that do not answer and are not asked")

  /// - Parameter urls: of the cluster's nodes, without a path.
  init(_ http: HTTPClient, urls: [String], logger: Logger) {
    self.http = http
    self.logger = logger
    nodes = SearchNodes(
      urls.map { $0.hasSuffix("/") ? String($0.dropLast()) : $0 }, first: .random(in: 0..<urls.count))
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

  /// Asks one node, and where that fails another one: what no node has seen, always; what may have been done already, if
  /// doing it twice is doing it once, and it is not asked twice too often.
  private func send(
    _ method: String, _ path: String, _ body: [UInt8], _ type: String, _ accepting: Set<Int>
  ) async throws -> Response {
    let isSearch = path.contains("/_search")
    // Written are whole documents by their versions, and settings.
    let isRepeatable =
      isSearch || method == "GET" || path.contains("/_bulk") || path.hasSuffix("/_settings")
    let startedAt = EventLoop.shared.now
    let limit = isSearch ? Self.searchTimeout : Self.writeTimeout
    var (node, mayAskAgain) = nodes.first(now: startedAt)
    defer { if mayAskAgain { nodes.giveBack() } }
    var tried: Set<Int> = []
    while true {
      let askedAt = EventLoop.shared.now
      var timeout = limit - Int(askedAt - startedAt)
      if isRepeatable, mayAskAgain { timeout = min(timeout, Int(Self.firstShare * Double(limit))) }
      let outcome: Result<Response, HTTPClientError>
      do {
        outcome = .success(try await ask(node, method, path, body, type, timeout))
      } catch let error as HTTPClientError {
        outcome = .failure(error)
      }
      let now = EventLoop.shared.now
      var isUnseen = false
      switch outcome {
      case .success(let response):
        // Of a node that has too much to do, or of a cluster that has lost its head.
        let isBusy = response.status == 429 || (502...504).contains(response.status)
        if !isBusy || accepting.contains(response.status) {
          return try accepted(response, method, path, accepting)
        }
        nodes.wasBusy(node, now: now, using: &random)
      case .failure(let error):
        leaveOut(node, askedAt: askedAt, error)
        isUnseen = error.nothingWasSent
      }
      tried.insert(node)
      let isInTime = Int(now - startedAt) < limit - Self.leastTimeout
      if isInTime, isUnseen || isRepeatable && mayAskAgain,
        let other = nodes.another(besides: tried, isUnseen: isUnseen, now: now)
      {
        node = other
        if !isUnseen { mayAskAgain = false }
        continue
      }
      switch outcome {
      case .success(let response): return try accepted(response, method, path, accepting)
      case .failure(let error): throw SearchError(.unavailable, error.description)
      }
    }
  }

  private func ask(
    _ node: Int, _ method: String, _ path: String, _ body: [UInt8], _ type: String, _ timeout: Int
  ) async throws -> Response {
    let answer = try await http.send(
      HTTPClientRequest(
        method: method, url: nodes.url(node) + path, headers: body.isEmpty ? [] : [("Content-Type", type)],
        body: body, timeoutMilliseconds: timeout))
    if nodes.answered(node, now: EventLoop.shared.now) {
      nodesOut.value = Double(nodes.outCount)
      logger.notice("a search node answers again", ["search.node": node + 1])
    }
    return Response(status: answer.status, body: (try? JSON(parsing: answer.body)) ?? .null)
  }

  private func accepted(
    _ response: Response, _ method: String, _ path: String, _ accepting: Set<Int>
  ) throws -> Response {
    if response.isSuccess || accepting.contains(response.status) { return response }
    let reason = response.body["error"]?["reason"]?.string ?? ""
    let message =
      "\(method) \(path): \(response.status) \(response.errorType ?? "") \(reason.prefix(200))"
    // Not found: the index is still to be made, which is the indexer's.
    throw SearchError(
      response.status == 404 || response.status == 429 || response.status >= 502
        ? .unavailable : .unexpectedAnswer,
      message)
  }

  // MARK: Nodes that fail

  private func leaveOut(_ node: Int, askedAt: UInt64, _ failure: HTTPClientError) {
    // Ours, and none of the node's.
    guard ![.overloaded, .closed, .tooLarge].contains(failure.code) else { return }
    guard nodes.failed(node, askedAt: askedAt, now: EventLoop.shared.now) else { return }
    nodesOut.value = Double(nodes.outCount)
    logger.warning(
      "a search node does not answer and is left out", ["search.node": node + 1, "error": "\(failure)"])
    Task { @LoopActor [weak self] in
      while let pause = self?.pauseOfOut(node) {
        guard (try? await sleep(milliseconds: pause)) != nil else { return }
        // An answer, whatever it says, ends this.
        _ = try? await self?.ask(node, "GET", "/", [], "", Self.lookTimeout)
      }
    }
  }

  /// Until the next look; `nil` for one that is not left out any more.
  private func pauseOfOut(_ node: Int) -> UInt64? {
    nodes.isOut(node) ? nodes.pause(node, using: &random) : nil
  }
}
