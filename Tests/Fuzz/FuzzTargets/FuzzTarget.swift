import HTTPClient
import JSON
import Sale
import Text

@testable import Admin
@testable import Catalog
@testable import HTTPCommon
@testable import HTTPServer
@testable import Identity
@testable import Postgres
@testable import Queue
@testable import Search

/// A decoder of bytes that come from outside, with what must hold whatever they are.
///
/// A target decodes its input and ends the process if a promise is broken: a fuzzer takes that for a finding, and a test
/// for a failure. It keeps nothing, waits for nothing, and takes the same way for the same bytes.
package enum FuzzTarget: String, CaseIterable, Sendable {
  /// A body in JSON: what is read is written and read again as the same value.
  case json
  /// Part of a target or a form: what decodes is text without NUL.
  case percent
  /// A request's line and headers.
  case head
  /// Lines between the pieces of a chunked body.
  case chunks
  /// `If-None-Match`, `Accept-Encoding` and `X-Forwarded-For`.
  case headers
  /// A table of seats in whatever encoding.
  case table
  /// A seating plan, or sections.
  case plan
  /// What Redis keeps of a request, a line and an event, and what it announces.
  case records
  /// PostgreSQL's text of an array.
  case array
  /// Ids of requests, receipts of holds, links of mails.
  case ids
  /// A page's place in a search.
  case cursor
  /// Words to be searched for, and to be found.
  case words
  /// Addresses of mail.
  case mail
  /// URLs and addresses that webhooks may lead to.
  case addresses
  /// Signatures of webhooks.
  case signature
  /// Whatever a person wrote, as it is shown in pages, tables and terminals.
  case escaping

  package func run(_ input: UnsafeBufferPointer<UInt8>) {
    let text = String(decoding: input, as: UTF8.self)
    switch self {
    case .json: Self.readJSON(Array(input))
    case .percent: Self.decodePercent(input)
    case .head: Self.readHead(input)
    case .chunks: Self.readChunks(input)
    case .headers: Self.readHeaders(text)
    case .table: Self.readTable(Array(input))
    case .plan: Self.readPlan(Array(input))
    case .records: Self.readRecords(Array(input), text)
    case .array: Self.readArray(text)
    case .ids: Self.readIDs(text)
    case .cursor: Self.readCursor(text)
    case .words: Self.findWords(text)
    case .mail: Self.readMail(text)
    case .addresses: Self.readAddresses(text)
    case .signature: Self.checkSignature(text)
    case .escaping: Self.escape(text)
    }
  }

  private static func readJSON(_ bytes: [UInt8]) {
    guard let value = try? JSON(parsing: bytes) else { return }
    let written = value.serialized()
    guard let again = try? JSON(parsing: written) else { preconditionFailure("what was written is no JSON") }
    precondition(again == value, "what was written is another value")
    precondition(again.serialized() == written, "the same value is written in two ways")
  }

  private static func decodePercent(_ input: UnsafeBufferPointer<UInt8>) {
    for plusIsSpace in [false, true] {
      guard let text = PercentEncoding.decode(input, plusIsSpace: plusIsSpace) else { continue }
      precondition(input.contains(0) || !text.utf8.contains(0), "a NUL was made")
      precondition(text.utf8.count <= input.count, "decoding made it longer")
    }
  }

  private static func readHead(_ input: UnsafeBufferPointer<UInt8>) {
    for minor in 0...1 {
      guard let head = try? RequestHead(input, major: 1, minor: minor) else { continue }
      var count = 0
      head.eachField("cookie") { value in
        precondition(value.allSatisfy { $0 != 0x0D && $0 != 0x0A && $0 != 0 }, "a value has a line's end")
        count += 1
        return true
      }
      precondition(count <= input.count)
      _ = head.field("host")
    }
  }

  private static func readChunks(_ input: UnsafeBufferPointer<UInt8>) {
    func take(_ pieces: [UnsafeBufferPointer<UInt8>]) -> Bool {
      var framing = ChunkFraming(limit: 4_096)
      do {
        for piece in pieces { try framing.take(piece) }
        framing.startTrailers()
        for piece in pieces { try framing.take(piece) }
        return true
      } catch { return false }
    }
    let whole = take([input])
    let middle = input.count / 2
    let halves = take([
      UnsafeBufferPointer(rebasing: input[..<middle]), UnsafeBufferPointer(rebasing: input[middle...]),
    ])
    precondition(whole == halves, "it depends on how the bytes come")
  }

  private static func readHeaders(_ text: String) {
    _ = EntityTag.matches(text, "\"tag\"")
    for coding in ContentCoding.allCases { _ = ContentCoding.chosen(text, among: [coding]) }
    if let range = AddressRange(text) { precondition(AddressRange(text) == range) }
    guard let proxy = AddressRange("10.0.0.0/8"), let peer = ClientAddress("10.0.0.1") else {
      preconditionFailure("these are addresses")
    }
    _ = peer.forwarded(by: text, proxies: [proxy])
  }

  private static func readTable(_ bytes: [UInt8]) {
    guard let text = try? CSVText.read(bytes) else { return }
    guard let tickets = try? SeatTable.tickets(text, currency: Currency(code: "EUR")) else { return }
    precondition(!tickets.sections.isEmpty, "a table without a seat was taken")
  }

  private static func readPlan(_ bytes: [UInt8]) {
    guard let fields = try? Fields(file: bytes) else { return }
    var findings = Findings()
    let terms = SeatingPlan.Terms(prices: ["Stalls": 4_500], capacities: ["Floor": 300], names: [:])
    let tickets = TicketUpload.tickets(fields, terms, &findings)
    precondition(!findings.isEmpty || !tickets.sections.isEmpty, "nothing was read, and nothing said of it")
  }

  private static func readRecords(_ bytes: [UInt8], _ text: String) {
    _ = RequestRecord(text)
    _ = QueueChange(bytes)
    _ = LineMark(text)
    if let place = WishPlace(text) { precondition(WishPlace(place.text) == place) }
    if let seats = RequestedSeats(encoded: text) {
      precondition(RequestedSeats(encoded: seats.encoded) == seats, "seats change when they are written")
    }
  }

  private static func readArray(_ text: String) {
    let elements = text.utf8.split(separator: 0, omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    precondition(SQLArray.elements(of: SQLArray.literal(elements)) == elements, "elements change on the way")
    _ = SQLArray.elements(of: text)
  }

  private static let coder = RequestIDCoder(secret: "a secret of the fuzz targets, for nothing else")

  private static func readIDs(_ text: String) {
    precondition(coder.decode(text) == nil, "an id that nobody signed was taken")
    let id = RequestID(event: 7, generation: 1, position: 3, owner: "abcdefghijkl")
    precondition(coder.decode(coder.encode(id)) == id)
    precondition(coder.holds.decode(text, of: id) == nil, "a receipt that nobody signed was taken")
    _ = MailToken(text)
  }

  private static func readCursor(_ text: String) {
    guard let cursor = SearchCursor(text) else { return }
    precondition(cursor.text == text, "one place has two texts")
  }

  private static func findWords(_ text: String) {
    let words = SearchText.words(text)
    precondition(words.allSatisfy { !$0.isEmpty }, "an empty word finds everything")
    let terms = SearchText.terms(text, atMost: 8)
    precondition(terms.count <= 8)
    _ = SearchText.phrases(text, atMost: 8)
  }

  private static func readMail(_ text: String) {
    if let address = try? EmailAddress(text) {
      for spelling in address.spellings {
        precondition((try? EmailAddress(spelling))?.text == address.text, "one address has two texts")
      }
    }
    if let new = try? EmailAddress(text, isNew: true) {
      precondition((try? EmailAddress(text))?.spellings == new.spellings, "an account that is not found")
      precondition(new.text.utf8.count { $0 == UInt8(ascii: "@") } == 1, "an address with two domains")
    }
    guard let address = MailAddress(text) else { return }
    precondition(!"\(address)".utf8.contains { $0 < 0x20 || $0 == 0x7F }, "a line's end in a mail's header")
  }

  private static func readAddresses(_ text: String) {
    _ = AddressPolicy.problem(with: text, allowsPlain: true)
    _ = AddressPolicy(blocks: text)
    guard let address = NetworkAddress(text) else { return }
    precondition(NetworkAddress("\(address)") == address, "an address changes when it is written")
  }

  private static func checkSignature(_ text: String) {
    precondition(
      !WebhookSignature.isValid(text, of: [1, 2, 3], secrets: ["whsec_fuzz"], now: 1_700_000_000),
      "a signature that nobody made was taken")
  }

  private static func escape(_ text: String) {
    precondition(!Escaping.text(text).contains { $0 == UInt8(ascii: "<") }, "a tag in a text")
    precondition(
      !Escaping.attribute(text).contains { $0 == UInt8(ascii: "<") || $0 == UInt8(ascii: "\"") },
      "an attribute's end in its value")
    let shown = String(decoding: Escaping.csvCell(text).dropFirst(), as: UTF8.self)
    precondition(
      shown.unicodeScalars.first { !$0.properties.isWhitespace }.map { !"=+-@".unicodeScalars.contains($0) }
        ?? true, "a formula in a cell")
    precondition(
      !Escaping.terminal(text).unicodeScalars.contains {
        $0.value < 0x20 || (0x7F..<0xA0).contains($0.value)
      },
      "an order to a terminal")
  }
}
