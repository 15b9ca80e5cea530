package import JSON

/// What a request is answered with. Content-Length and Date are added when it is sent.
package struct HTTPResponse: Sendable {
  package typealias Headers = [(name: String, value: String)]

  package var status: Int
  package var headers: Headers
  /// Headers before those, which many answers have.
  package var shared: SharedHeaders?
  package var body: [UInt8]
  /// Held until the last byte is sent, so that whoever made a large body can tell whether it is still in memory.
  package var source: (any AnyObject & Sendable)?

  package init(status: Int, headers: Headers = [], body: [UInt8] = []) {
    self.status = status
    self.headers = headers
    self.body = body
  }

  /// Closes the connection without an answer: for what injects faults.
  package static let hangUp = HTTPResponse(status: 0)

  /// The first header of that name, in any case.
  package func header(_ name: String) -> String? {
    ((shared?.headers ?? []) + headers).first { $0.name.lowercased() == name.lowercased() }?.value
  }

  /// JSON of one client's, that no cache may keep.
  package static func uncached(_ status: Int, serialized: [UInt8], headers: Headers = []) -> HTTPResponse {
    var response = HTTPResponse(status: status, headers: headers, body: serialized)
    response.shared = .uncachedJSON
    return response
  }

  package static func json(_ status: Int, _ value: JSON, headers: Headers = []) -> HTTPResponse {
    json(status, serialized: value.serialized(), headers: headers)
  }

  /// A JSON answer from text that was made before, for answers that many clients share.
  package static func json(_ status: Int, serialized: [UInt8], headers: Headers = []) -> HTTPResponse {
    HTTPResponse(
      status: status, headers: [("Content-Type", "application/json")] + headers, body: serialized)
  }

  package static func text(
    _ status: Int, _ text: String, type: String = "text/plain; charset=utf-8", headers: Headers = []
  ) -> HTTPResponse {
    HTTPResponse(status: status, headers: [("Content-Type", type)] + headers, body: Array(text.utf8))
  }

  /// An error as RFC 9457 has it, with a stable `code` for programs.
  ///
  /// 429 and 503 get `Retry-After: 1` unless `headers` has one: a client that is turned away always learns when
  /// to come back.
  /// - Parameter errors: each thing that is wrong in what was sent.
  package static func problem(
    _ status: Int, code: String, detail: String, errors: [JSON] = [], headers: Headers = []
  ) -> HTTPResponse {
    var headers = [(name: "Content-Type", value: "application/problem+json")] + headers
    if status == 429 || status == 503, !headers.contains(where: { $0.name.lowercased() == "retry-after" }) {
      headers.append(("Retry-After", "1"))
    }
    // Written by hand: it is what most of those get who come for tickets that are sold.
    var json = JSONText(capacity: 128 + detail.utf8.count)
    json.append(#"{"type":"about:blank","title":"#)
    json.append(escaping: reason(status))
    json.append(#","status":"#)
    json.append(status)
    json.append(#","detail":"#)
    json.append(escaping: detail)
    json.append(#","code":"#)
    json.append(escaping: code)
    if !errors.isEmpty {
      json.append(#","errors":"#)
      json.append(json: .array(errors))
    }
    json.append("}")
    return HTTPResponse(status: status, headers: headers, body: json.bytes)
  }

  /// The phrase that belongs to a status code.
  package static func reason(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 201: "Created"
    case 202: "Accepted"
    case 204: "No Content"
    case 304: "Not Modified"
    case 400: "Bad Request"
    case 401: "Unauthorized"
    case 402: "Payment Required"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 408: "Request Timeout"
    case 409: "Conflict"
    case 410: "Gone"
    case 412: "Precondition Failed"
    case 413: "Content Too Large"
    case 414: "URI Too Long"
    case 415: "Unsupported Media Type"
    case 422: "Unprocessable Content"
    case 429: "Too Many Requests"
    case 431: "Request Header Fields Too Large"
    case 500: "Internal Server Error"
    case 501: "Not Implemented"
    case 502: "Bad Gateway"
    case 503: "Service Unavailable"
    case 504: "Gateway Timeout"
    case 505: "HTTP Version Not Supported"
    default: "Status \(status)"
    }
  }
}
