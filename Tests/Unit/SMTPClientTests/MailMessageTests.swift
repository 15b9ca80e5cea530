import Foundation
import Testing
import Text

@testable import SMTPClient

@Suite("Mail")
struct MailMessageTests {
  @Test("What could mean something else to a mail server, or in a header, is no address")
  func addresses() {
    for text in ["mina@example.com", "m.i+n'a@a-b.example", "müller@bücher.example", "a@b"] {
      #expect(MailAddress(text)?.description == text)
    }
    for text in [
      "", "@", "a@", "@b", "a@b@c", "a b@c", "a@b c", "<a@b>", "a>b@c", "a\r\nRCPT TO:<x@y>@b", "a@b\n",
      "\"a\"@b",
      "a@[127.0.0.1]", "a,b@c", "a;b@c", "a:b@c", "a.@b", ".a@b", "a..b@c", "a@.b", "a\u{202E}b@c",
      "a\u{0}@b",
      String(repeating: "a", count: 65) + "@b", "a@" + String(repeating: "b", count: 256), "a\\@b", "a(b)@c",
    ] {
      #expect(MailAddress(text) == nil, "\(text.debugDescription)")
    }
  }

  private func encoded(
    _ subject: String = "Hello", _ text: String = "Text\n", to: String = "mina@example.com", name: String = ""
  ) throws -> String {
    let message = MailMessage(
      id: "1b4e28ba-2fa1-11d2-883f-0016d3cca427", to: try #require(MailAddress(to)), subject: subject,
      text: text,
      date: 1_796_047_200)
    let from = try #require(MailAddress("tickets@example.org"))
    return String(decoding: message.encoded(from: from, name: name), as: UTF8.self)
  }

  @Test("A message is as RFC 5322 has it")
  func message() throws {
    #expect(
      try encoded() == """
        From: tickets@example.org\r
        To: mina@example.com\r
        Subject: Hello\r
        Date: Mon, 30 Nov 2026 14:00:00 +0000\r
        Message-ID: <1b4e28ba-2fa1-11d2-883f-0016d3cca427@example.org>\r
        Auto-Submitted: auto-generated\r
        MIME-Version: 1.0\r
        Content-Type: text/plain; charset=utf-8\r
        Content-Transfer-Encoding: quoted-printable\r
        \r
        Text\r

        """)
    #expect(try encoded(to: "müller@example.com").contains("\r\nTo: undisclosed-recipients:;\r\n"))
  }

  @Test("Nothing in a subject or a name begins a header of its own")
  func injection() throws {
    for text in [
      "a\r\nBcc: x@y", "a\nBcc: x@y", "a\r\n\r\nbody", "\u{2028}Bcc: x", "=?utf-8?Q?=0D=0ABcc?=",
      "\"x\" <y@z>",
    ] {
      let (head, _) = try split(try encoded(text, name: text))
      #expect(head.count == 9, "\(head)")
      #expect(!head.contains { $0.hasPrefix("Bcc") })
    }
  }

  /// Headers, unfolded, and the body.
  private func split(_ message: String) throws -> (head: [String], body: String) {
    let end = try #require(message.range(of: "\r\n\r\n"))
    let head = message[..<end.lowerBound].replacingOccurrences(of: "\r\n ", with: " ")
    return (head.components(separatedBy: "\r\n"), String(message[end.upperBound...]))
  }

  @Test("Long words of any script are encoded in pieces, and read back as they were")
  func words() throws {
    let text = String(repeating: "Bühne 🎭 ", count: 20).trimmingCharacters(in: .whitespaces)
    let words = MailMessage.words(text)
    var bytes = Data()
    for line in words.components(separatedBy: "\r\n ") {
      #expect(line.utf8.count <= 75 && line.hasPrefix("=?utf-8?B?") && line.hasSuffix("?="))
      let piece = try #require(Data(base64Encoded: String(line.dropFirst(10).dropLast(2))))
      // Of whole characters each.
      #expect(String(data: piece, encoding: .utf8) != nil)
      bytes += piece
    }
    #expect(String(decoding: bytes, as: UTF8.self) == text)
  }

  private func decoded(_ bytes: [UInt8]) throws -> String {
    let text = String(decoding: bytes, as: UTF8.self)
    var out: [UInt8] = []
    for line in text.components(separatedBy: "\r\n") {
      #expect(
        line.utf8.count <= 76 && !line.hasPrefix(".") && line.last != " " && line.last != "\t", "\(line)")
      #expect(line.utf8.allSatisfy { (0x20...0x7E).contains($0) || $0 == 9 })
    }
    let joined = Array(
      text.replacingOccurrences(of: "=\r\n", with: "").replacingOccurrences(of: "\r\n", with: "\n").utf8)
    var index = 0
    while index < joined.count {
      if joined[index] == UInt8(ascii: "=") {
        let digits = String(decoding: joined[index + 1...index + 2], as: UTF8.self)
        out.append(try #require(UInt8(digits, radix: 16)))
        index += 3
      } else {
        out.append(joined[index])
        index += 1
      }
    }
    return String(decoding: out, as: UTF8.self)
  }

  @Test("Texts of any kind are encoded in lines that go through every server, and read back as they were")
  func text() throws {
    for text in [
      "", "plain\n", ".\n", ".hidden\n..\n", "a = b\n", "blank at the end \nand a tab\t\n", "ü\n",
      "\u{0}\u{7F}\n",
      String(repeating: "x", count: 300) + "\n", String(repeating: "ü", count: 100) + "\n",
      String(repeating: ".", count: 300) + "\n", String(repeating: "a ", count: 100) + "\n",
      String(repeating: "x", count: 75) + "=\n", String(repeating: "x", count: 76) + "\n",
      String(repeating: "x", count: 75) + ".\n", String(repeating: "x", count: 74) + " .\n", "\n\n\n",
    ] {
      #expect(try decoded(MailMessage.quotedPrintable(text)) == (text.hasSuffix("\n") ? text : text + "\n"))
    }
    #expect(try decoded(MailMessage.quotedPrintable("a\r\nb\r\n")) == "a\nb\n")
  }
}

@Suite("Where mail goes")
struct SMTPConfigurationTests {
  @Test("Everywhere but on this machine nothing goes out unencrypted; what it says of itself has no password")
  func configuration() throws {
    let plain = try SMTPConfiguration(
      url: "smtp://u%40x:p%2Fw@mail.example.com", from: "Tickets & Co <t@example.org>")
    #expect(plain.requiresTLS && plain.port == 587 && plain.user == "u@x" && plain.password == "p/w")
    #expect(plain.fromName == "Tickets & Co" && plain.from.description == "t@example.org")
    #expect(
      "\(plain)" == "smtp://mail.example.com:587" && plain.url == "smtp://mail.example.com:587/example.org")
    #expect(try SMTPConfiguration(url: "smtps://mail.example.com", from: "t@e.org").port == 465)
    for host in ["127.0.0.1", "localhost", "[::1]", "127.8.8.8"] {
      #expect(try !SMTPConfiguration(url: "smtp://\(host):2525", from: "t@e.org").requiresTLS)
    }
    for host in ["127.0.0.1.example.com", "10.0.0.1", "[fe80::1]", "localhost.example.com"] {
      #expect(try SMTPConfiguration(url: "smtp://\(host):2525", from: "t@e.org").requiresTLS)
    }
    for (url, from) in [
      ("http://mail.example.com", "t@e.org"), ("smtp://", "t@e.org"), ("smtp://mail.example.com", ""),
      ("smtp://user@mail.example.com", "t@e.org"), ("smtp://mail.example.com/path", "t@e.org"),
      ("smtp://mail.example.com", "tickets"), ("smtp://mail.example.com", "A\nB <t@e.org>"),
      ("smtp://mail.example.com", "ü@e.org"), ("smtp://mail.example.com:0", "t@e.org"),
      ("smtp://a:b%0Ac@mail.example.com", "t@e.org"), ("mail.example.com", "t@e.org"),
    ] {
      #expect(throws: SMTPConfiguration.Malformed.self, "\(url) \(from)") {
        try SMTPConfiguration(url: url, from: from)
      }
    }
  }
}
