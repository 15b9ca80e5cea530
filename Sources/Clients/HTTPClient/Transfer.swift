import CCurl
import EventLoop

/// One of libcurl's easy handles, used for one request after the other: making one costs more than a request.
@LoopActor
final class Transfer {
  /// Bytes of a response's headers.
  private static let maximumHeaders = 64 << 10

  let easy: UnsafeMutableRawPointer
  private let maximumBody: Int
  private var list: UnsafeMutablePointer<curl_slist>?
  /// The call that it works for.
  private(set) var call: Call?
  private var lines: [UInt8] = []
  private var body: [UInt8] = []
  private var isTooLarge = false
  /// Whether the empty line after the headers came; without it libcurl takes a cut response for a whole one.
  private var hasHeaders = false

  init?(_ configuration: HTTPClientConfiguration, client: UnsafeMutableRawPointer) {
    guard let easy = curl_easy_init() else { return nil }
    self.easy = easy
    maximumBody = configuration.maximumResponseBody
    let own = Unmanaged.passUnretained(self).toOpaque()
    curl_set_pointer(easy, CURLOPT_PRIVATE, own)
    curl_set_on_data(easy, receiveBody, receiveHeader, own)
    curl_set_on_socket(easy, openSocket, closeSocket, client)
    curl_set_long(easy, CURLOPT_NOSIGNAL, 1)
    curl_set_long(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1)
    curl_set_text(easy, CURLOPT_PROTOCOLS_STR, "http,https")
    curl_set_text(easy, CURLOPT_PROXY, "")
    curl_set_long(easy, CURLOPT_CONNECTTIMEOUT_MS, configuration.connectTimeoutMilliseconds)
    curl_set_text(easy, CURLOPT_ACCEPT_ENCODING, nil)
  }

  isolated deinit {
    curl_easy_cleanup(easy)
    curl_slist_free_all(list)
  }

  /// Sets the handle up for a call. Everything a former call set is set anew.
  func prepare(_ call: Call, timeoutMilliseconds: Int) {
    self.call = call
    let request = call.request
    curl_set_text(easy, CURLOPT_URL, request.url)
    curl_set_long(easy, CURLOPT_TIMEOUT_MS, max(1, timeoutMilliseconds))
    // In this order: each of the first three also resets the method that the others set.
    if request.method == "HEAD" {
      curl_set_long(easy, CURLOPT_NOBODY, 1)
    } else if request.method == "GET", request.body.isEmpty {
      curl_set_long(easy, CURLOPT_NOBODY, 0)
      curl_set_long(easy, CURLOPT_HTTPGET, 1)
    } else {
      curl_set_long(easy, CURLOPT_NOBODY, 0)
      curl_set_long(easy, CURLOPT_POST, 1)
      curl_set_offset(easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(request.body.count))
      _ = request.body.withUnsafeBytes { body in
        // Copied; a pointer to something is needed even for nothing, or libcurl would ask a read callback.
        curl_set_pointer(easy, CURLOPT_COPYPOSTFIELDS, body.baseAddress ?? UnsafeRawPointer(easy))
      }
    }
    let isDefault =
      ["GET", "HEAD", "POST"].contains(request.method) && !(request.method == "GET" && !request.body.isEmpty)
    curl_set_text(easy, CURLOPT_CUSTOMREQUEST, isDefault ? nil : request.method)
    setHeaders(request)
  }

  private func setHeaders(_ request: HTTPClientRequest) {
    curl_slist_free_all(list)
    list = nil
    var hasType = false
    for (name, value) in request.headers {
      if name.utf8.count == 12, name.lowercased() == "content-type" { hasType = true }
      list = curl_slist_append(list, value.isEmpty ? "\(name);" : "\(name): \(value)")
    }
    // A form unless told otherwise is libcurl's habit, waiting for "100 Continue" another.
    if !hasType { list = curl_slist_append(list, "Content-Type:") }
    if !request.body.isEmpty { list = curl_slist_append(list, "Expect:") }
    curl_set_pointer(easy, CURLOPT_HTTPHEADER, list)
  }

  /// What the call came to. The handle is free for another call afterwards.
  func finish(_ result: CURLcode) -> Result<HTTPClientResponse, any Error> {
    defer { reset() }
    if result == CURLE_OK && hasHeaders {
      return .success(HTTPClientResponse(status: curl_status(easy), lines: lines, body: body))
    }
    let nothingWasSent = curl_bytes_sent(easy) == 0
    return .failure(
      HTTPClientError(
        code: code(for: result, nothingWasSent),
        message: result == CURLE_OK ? "the headers were cut" : String(cString: curl_easy_strerror(result)),
        nothingWasSent: nothingWasSent))
  }

  private func code(for result: CURLcode, _ nothingWasSent: Bool) -> HTTPClientError.Code {
    if isTooLarge { return .tooLarge }
    switch result {
    case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT, CURLE_SSL_CONNECT_ERROR,
      CURLE_PEER_FAILED_VERIFICATION:
      return .connectFailed
    case CURLE_OPERATION_TIMEDOUT: return nothingWasSent ? .connectFailed : .timeout
    case CURLE_URL_MALFORMAT,
      CURLE_UNSUPPORTED_PROTOCOL where nothingWasSent:
      return .invalidURL
    default: return nothingWasSent ? .connectFailed : .connectionLost
    }
  }

  func reset() {
    call = nil
    lines = []
    body = []
    isTooLarge = false
    hasHeaders = false
  }

  /// - Returns: whether it fits.
  func received(_ data: UnsafeRawBufferPointer) -> Bool {
    guard body.count + data.count <= maximumBody else {
      isTooLarge = true
      return false
    }
    body.append(contentsOf: data)
    return true
  }

  func receivedHeader(_ line: UnsafeRawBufferPointer) -> Bool {
    // A status line starts anew: what came before was an interim response.
    if line.starts(with: "HTTP/".utf8) {
      lines.removeAll(keepingCapacity: true)
      hasHeaders = false
      return true
    }
    if line.count <= 2, line.first == UInt8(ascii: "\r") || line.first == UInt8(ascii: "\n") {
      hasHeaders = true
      return true
    }
    guard lines.count + line.count <= Self.maximumHeaders else {
      isTooLarge = true
      return false
    }
    lines.append(contentsOf: line)
    return true
  }
}

private let receiveBody: curl_data_callback = { data, size, count, transfer in
  guard let transfer else { return 0 }
  // Called on the loop, by libcurl; nothing here leaves it.
  nonisolated(unsafe) let call = (
    transfer: transfer, data: UnsafeRawBufferPointer(start: data, count: size * count)
  )
  return LoopActor.assumeIsolated {
    let transfer = Unmanaged<Transfer>.fromOpaque(call.transfer).takeUnretainedValue()
    return transfer.received(call.data) ? call.data.count : 0
  }
}

private let receiveHeader: curl_data_callback = { data, size, count, transfer in
  guard let transfer else { return 0 }
  nonisolated(unsafe) let call = (
    transfer: transfer, data: UnsafeRawBufferPointer(start: data, count: size * count)
  )
  return LoopActor.assumeIsolated {
    let transfer = Unmanaged<Transfer>.fromOpaque(call.transfer).takeUnretainedValue()
    return transfer.receivedHeader(call.data) ? call.data.count : 0
  }
}
