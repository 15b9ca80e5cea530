import CCurl
package import EventLoop
import Synchronization
import Text

/// Why a message was not taken.
package struct SMTPError: Error, Sendable, CustomStringConvertible {
  /// What the server answered last, or 0.
  package let status: Int
  /// Whether the server refuses the message, so that it will do so again, as far as that can be known.
  package let isRefusal: Bool
  /// In libcurl's words: without the server's own, which may repeat an address.
  package let description: String

  package init(status: Int, isRefusal: Bool, description: String) {
    self.status = status
    self.isRefusal = isRefusal
    self.description = description
  }
}

/// Hands messages to a mail server by libcurl, on threads of its own: mail is few, and nobody waits for it.
///
/// A connection is used for several messages. Elsewhere than on this machine nothing is said before TLS is there, and the
/// server's name was verified; no proxy of the environment is used.
@LoopActor
package final class SMTPClient {
  package let configuration: SMTPConfiguration
  private var idle: [Connection]
  private var waiting: [UnsafeContinuation<Connection, Never>] = []
  private let isClosed = Flag()

  /// Read on the connections' threads.
  final class Flag: Sendable {
    private let value = Atomic(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
  }

  /// After so long a message was not taken, once it has a connection.
  package nonisolated static let longestSeconds = 30
  /// Messages that go out at a time.
  package nonisolated static let connections = 4

  package init(_ configuration: SMTPConfiguration, connections: Int = SMTPClient.connections) {
    self.configuration = configuration
    curl_global_init(Int(CURL_GLOBAL_DEFAULT))
    let isClosed = isClosed
    idle = (0..<max(1, connections)).map { _ in Connection(configuration, isClosed: isClosed) }
  }

  /// Returns once the server has taken the message upon itself.
  ///
  /// The caller bounds how many wait.
  package func send(_ message: MailMessage) async throws(SMTPError) {
    let bytes = message.encoded(from: configuration.from, name: configuration.fromName)
    let connection: Connection
    if let free = idle.popLast() {
      connection = free
    } else {
      connection = await withUnsafeContinuation { waiting.append($0) }
    }
    defer { giveBack(connection) }
    let recipient = message.to.description
    let failure: SMTPError? = await withUnsafeContinuation { continuation in
      connection.thread.submit { continuation.resume(returning: connection.send(bytes, to: recipient)) }
    }
    if let failure { throw failure }
  }

  private func giveBack(_ connection: Connection) {
    if waiting.isEmpty {
      idle.append(connection)
    } else {
      waiting.removeFirst().resume(returning: connection)
    }
  }

  /// What is under way ends within a second, as if the server were away.
  package func close() { isClosed.set() }
}

/// One of libcurl's easy handles and the thread that it is used on, with the connection that it keeps.
///
/// Unchecked: all but `init` and `deinit` happens on `thread`, one thing after the other.
private final class Connection: @unchecked Sendable {
  private static let connectMilliseconds = 10_000
  private static let milliseconds = SMTPClient.longestSeconds * 1_000
  /// A server ends connections that say nothing for some minutes; one this old is not used again.
  private static let idleSeconds = 20

  let thread = SerialThread(name: "mail")
  private let configuration: SMTPConfiguration
  private let isClosed: SMTPClient.Flag
  private var easy: UnsafeMutableRawPointer?
  /// What is left to be sent.
  private var body: ArraySlice<UInt8> = []

  init(_ configuration: SMTPConfiguration, isClosed: SMTPClient.Flag) {
    self.configuration = configuration
    self.isClosed = isClosed
  }

  deinit { if let easy { curl_easy_cleanup(easy) } }

  private func prepare() -> UnsafeMutableRawPointer? {
    if let easy { return easy }
    guard let made = curl_easy_init() else { return nil }
    easy = made
    curl_set_long(made, CURLOPT_NOSIGNAL, 1)
    curl_set_text(made, CURLOPT_PROTOCOLS_STR, "smtp,smtps")
    curl_set_text(made, CURLOPT_PROXY, "")
    curl_set_text(made, CURLOPT_URL, configuration.url)
    curl_set_long(
      made, CURLOPT_USE_SSL,
      Int(configuration.requiresTLS ? CURLUSESSL_ALL.rawValue : CURLUSESSL_NONE.rawValue))
    curl_set_long(made, CURLOPT_CONNECTTIMEOUT_MS, Self.connectMilliseconds)
    curl_set_long(made, CURLOPT_TIMEOUT_MS, Self.milliseconds)
    curl_set_long(made, CURLOPT_MAXAGE_CONN, Self.idleSeconds)
    curl_set_text(made, CURLOPT_MAIL_FROM, "<\(configuration.from)>")
    if !configuration.user.isEmpty {
      curl_set_text(made, CURLOPT_USERNAME, configuration.user)
      curl_set_text(made, CURLOPT_PASSWORD, configuration.password)
    }
    curl_set_long(made, CURLOPT_UPLOAD, 1)
    // What the server says is nobody's to read.
    curl_set_on_data(made, ignore, ignore, nil)
    let own = Unmanaged.passUnretained(self).toOpaque()
    curl_set_on_upload(made, upload, own)
    curl_set_long(made, CURLOPT_NOPROGRESS, 0)
    curl_set_on_progress(made, progress, own)
    return made
  }

  /// - Returns: `nil` if the server took it.
  func send(_ message: [UInt8], to recipient: String) -> SMTPError? {
    guard let easy = prepare() else {
      return SMTPError(status: 0, isRefusal: false, description: "out of memory")
    }
    let recipients = curl_slist_append(nil, "<\(recipient)>")
    defer { curl_slist_free_all(recipients) }
    curl_set_pointer(easy, CURLOPT_MAIL_RCPT, recipients)
    defer { curl_set_pointer(easy, CURLOPT_MAIL_RCPT, nil) }
    body = message[...]
    curl_set_offset(easy, CURLOPT_INFILESIZE_LARGE, curl_off_t(message.count))
    let result = curl_easy_perform(easy)
    body = []
    guard result != CURLE_OK else { return nil }
    let status = Int(curl_status(easy))
    // That it does not know us is no matter of the message's.
    let isRefusal =
      (500...599).contains(status) && result != CURLE_LOGIN_DENIED && ![530, 534, 535, 538].contains(status)
    return SMTPError(
      status: status, isRefusal: isRefusal, description: String(cString: curl_easy_strerror(result)))
  }

  fileprivate func read(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
    let part = body.prefix(buffer.count)
    part.withUnsafeBytes { buffer.copyMemory(from: $0) }
    body = body.dropFirst(part.count)
    return part.count
  }

  fileprivate var isGivenUp: Bool { isClosed.isSet }
}

private let ignore: curl_data_callback = { _, size, count, _ in size * count }

private let upload: curl_data_callback = { buffer, size, count, connection in
  guard let buffer, let connection else { return 0 }
  return Unmanaged<Connection>.fromOpaque(connection).takeUnretainedValue().read(
    UnsafeMutableRawBufferPointer(start: buffer, count: size * count))
}

private let progress: curl_xferinfo_callback = { connection, _, _, _, _ in
  guard let connection else { return 0 }
  return Unmanaged<Connection>.fromOpaque(connection).takeUnretainedValue().isGivenUp ? 1 : 0
}
