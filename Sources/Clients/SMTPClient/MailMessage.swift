import Foundation
package import Text

/// A message of plain text, written by a program: nobody's vacation answers it.
package struct MailMessage: Sendable {
  /// Names it for good, so that a message that comes twice is known for the same.
  package var id: String
  package var to: MailAddress
  package var subject: String
  package var text: String
  /// Seconds since 1970.
  package var date: Int

  package init(id: String, to: MailAddress, subject: String, text: String, date: Int) {
    self.id = id
    self.to = to
    self.subject = subject
    self.text = text
    self.date = date
  }

  /// The message as RFC 5322 and MIME have it: ASCII, in lines that end in CR and LF. Those of the text have at most 76
  /// characters, and none begins with a dot.
  package func encoded(from: MailAddress, name: String = "") -> [UInt8] {
    let mailbox = name.isEmpty ? from.description : "\(Self.words(name)) <\(from)>"
    let headers = [
      ("From", mailbox),
      // An address that headers cannot hold without SMTPUTF8 is in the envelope, where it counts.
      ("To", to.isASCII ? to.description : "undisclosed-recipients:;"),
      ("Subject", Self.words(subject)),
      ("Date", Self.date(date)),
      ("Message-ID", "<\(Self.atom(id))@\(from.domain)>"),
      ("Auto-Submitted", "auto-generated"),
      ("MIME-Version", "1.0"),
      ("Content-Type", "text/plain; charset=utf-8"),
      ("Content-Transfer-Encoding", "quoted-printable"),
    ]
    var bytes: [UInt8] = []
    for (name, value) in headers { bytes += Array("\(name): \(value)\r\n".utf8) }
    return bytes + Array("\r\n".utf8) + Self.quotedPrintable(text)
  }

  private static func date(_ seconds: Int) -> String {
    var time = time_t(seconds), parts = tm()
    gmtime_r(&time, &parts)
    var text = [CChar](repeating: 0, count: 64)
    // The process never leaves the C locale, which has the names that are wanted.
    let length = strftime(&text, text.count, "%a, %d %b %Y %H:%M:%S +0000", &parts)
    return String(decoding: text[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private static func atom(_ text: String) -> String {
    String(
      text.unicodeScalars.filter {
        $0.isASCII && ($0.properties.isAlphabetic || "0"..."9" ~= $0 || $0 == "-")
      })
  }

  /// A header's text as words of letters and digits where it is no more than that, else as encoded words (RFC 2047) of at
  /// most 75 characters, one a line: nothing in it ends a line.
  static func words(_ text: String) -> String {
    let isPlain =
      text.utf8.count <= 60
      && text.unicodeScalars.allSatisfy { scalar in
        scalar.isASCII && (scalar.properties.isAlphabetic || "0"..."9" ~= scalar || scalar == " ")
      }
    if isPlain { return text }
    var words: [String] = [], word: [UInt8] = []
    func end() { words.append("=?utf-8?B?\(Data(word).base64EncodedString())?=") }
    for scalar in text.unicodeScalars {
      let bytes = scalar.steersText ? [UInt8(ascii: " ")] : Array(UTF8.encode(scalar).unsafelyUnwrapped)
      if word.count + bytes.count > 45 {
        end()
        word = []
      }
      word += bytes
    }
    end()
    return words.joined(separator: "\r\n ")
  }

  private static let lineLength = 76

  /// RFC 2045, section 6.7. A dot at the beginning of a line is escaped, too, which would end the message on its way.
  static func quotedPrintable(_ text: String) -> [UInt8] {
    let digits = Array("0123456789ABCDEF".utf8), equals = UInt8(ascii: "=")
    var out: [UInt8] = []
    for line in text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
      var column = 0
      for index in line.indices {
        let byte = line[index]
        let isLast = line.index(after: index) == line.endIndex
        let isBlank = byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
        let isPlain =
          isBlank
          ? !isLast
          : (0x21...0x7E).contains(byte) && byte != equals && !(column == 0 && byte == UInt8(ascii: "."))
        let width = isPlain ? 1 : 3
        if column + width > lineLength - (isLast ? 0 : 1) {
          out += [equals, 13, 10]
          column = 0
        }
        // What was in the middle may stand at the beginning now.
        if isPlain, !(column == 0 && byte == UInt8(ascii: ".")) {
          out.append(byte)
          column += 1
        } else {
          out += [equals, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
          column += 3
        }
      }
      out += [13, 10]
    }
    // The text's last line end is one already.
    if text.utf8.last == UInt8(ascii: "\n") { out.removeLast(2) }
    return out
  }
}
