import Testing

@testable import Identity

@Suite("Request ids")
struct RequestIDTests {
  private static let coder = RequestIDCoder(secret: "0123456789abcdef0123456789abcdef")

  @Test(
    "An id says which place is meant, and whose, in 66 URL-safe characters",
    arguments: [
      RequestID(event: 1, generation: 1, position: 1, owner: "AAAAAAAAAAAA"),
      RequestID(event: .max, generation: 1, position: .max, owner: "____________"),
      RequestID(event: 0, generation: 0, position: 0, owner: "------------"),
      RequestID(event: 42, generation: Int(UInt32.max), position: 1_000_000, owner: "a-Zz9_BcDe01"),
    ])
  func roundTrip(_ id: RequestID) {
    let text = Self.coder.encode(id)
    #expect(text.utf8.count == RequestIDCoder.textLength)
    #expect(text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") })
    #expect(Self.coder.decode(text) == id)
  }

  @Test("Nobody can make an id up, or change one")
  func forged() {
    let text = Self.coder.encode(RequestID(event: 7, generation: 1, position: 1_234, owner: "a-Zz9_BcDe01"))
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    for index in text.indices {
      for letter in alphabet where letter != text[index] {
        var changed = text
        changed.replaceSubrange(index...index, with: String(letter))
        #expect(Self.coder.decode(changed) == nil)
      }
    }
    let other = RequestIDCoder(secret: "another secret, also of 32 bytes")
    #expect(other.decode(text) == nil)
  }

  @Test(
    "What a former secret signed is read for as long as that is kept, and nothing is signed with it any more")
  func rotation() {
    let former = "0123456789abcdef0123456789abcdef", secret = "another secret, also of 32 bytes"
    let id = RequestID(event: 7, generation: 1, position: 9, owner: "a-Zz9_BcDe01", line: 3, ordinal: 4)
    let text = RequestIDCoder(secret: former).encode(id)
    let rotated = RequestIDCoder(secret: secret, former: ["one more secret that was replaced", former])
    #expect(rotated.decode(text) == id)
    #expect(rotated.encode(id) == RequestIDCoder(secret: secret).encode(id))
    #expect(RequestIDCoder(secret: former).decode(rotated.encode(id)) == nil)
  }

  @Test(
    "Anything else is no id",
    arguments: [
      "", "a", String(repeating: "A", count: 66), String(repeating: "=", count: 66),
      String(repeating: "é", count: 33), String(repeating: "\u{0}", count: 66), "../../etc/passwd",
      String(repeating: "A", count: 100_000), "1' OR '1'='1",
    ])
  func garbage(_ text: String) {
    #expect(Self.coder.decode(text) == nil)
    let id = Self.coder.encode(RequestID(event: 7, generation: 1, position: 1, owner: "a-Zz9_BcDe01"))
    #expect(Self.coder.decode(id + text.prefix(1)) == nil || text.isEmpty)
  }
}
