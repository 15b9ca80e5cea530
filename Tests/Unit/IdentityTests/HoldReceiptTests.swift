import Testing

@testable import Identity

@Suite("Receipts of holds")
struct HoldReceiptTests {
  private static let coder = HoldReceiptCoder(secret: "0123456789abcdef0123456789abcdef")
  private static let id = RequestID(event: 7, generation: 3, position: 12, owner: "a-Zz9_BcDe01")

  @Test("A receipt says what was held, in URL-safe characters", arguments: [1, 2, 50])
  func roundTrip(tickets: Int) {
    let receipt = HoldReceipt(
      generation: 3, deadline: 1_900_000_000_123, amount: 20_000_000 * 50,
      tickets: (0..<tickets).map { 1_000_000 - $0 })
    let text = Self.coder.encode(receipt, of: Self.id)
    #expect(text.utf8.count <= HoldReceiptCoder.textLimit)
    #expect(text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") })
    #expect(Self.coder.decode(text, of: Self.id) == receipt)
  }

  @Test("It is of one place: in whatever life of its line, and of nobody else's")
  func place() {
    let receipt = HoldReceipt(generation: 3, deadline: 5, amount: 6, tickets: [7])
    let text = Self.coder.encode(receipt, of: Self.id)
    func id(_ event: Int = 7, _ life: Int = 3, _ position: Int = 12, _ owner: String = "a-Zz9_BcDe01")
      -> RequestID
    {
      RequestID(event: event, generation: life, position: position, owner: owner, line: 4, ordinal: 5)
    }
    #expect(Self.coder.decode(text, of: id()) == receipt)
    #expect(Self.coder.decode(text, of: id(7, 4)) == receipt)
    for other in [id(8), id(7, 3, 13), id(7, 3, 12, "b-Zz9_BcDe01")] {
      #expect(Self.coder.decode(text, of: other) == nil)
    }
    let stranger = HoldReceiptCoder(secret: "another secret, also of 32 bytes")
    #expect(stranger.decode(text, of: Self.id) == nil)
    let renewed = HoldReceiptCoder(
      secret: "another secret, also of 32 bytes", former: ["0123456789abcdef0123456789abcdef"])
    #expect(renewed.decode(text, of: Self.id) == receipt)
  }

  @Test("Nobody can make one up, or change one")
  func forged() {
    let text = Self.coder.encode(
      HoldReceipt(generation: 3, deadline: 5, amount: 6, tickets: [7]), of: Self.id)
    for index in text.indices {
      for letter in "AZaz09-_=. " where letter != text[index] {
        var changed = text
        changed.replaceSubrange(index...index, with: String(letter))
        #expect(Self.coder.decode(changed, of: Self.id) == nil)
      }
    }
    for other in [
      "", "A", String(text.dropLast(4)), text + "AAAA", String(repeating: "A", count: 100_000), "é",
    ] {
      #expect(Self.coder.decode(other, of: Self.id) == nil)
    }
  }
}
