import Identity
import Testing

@Suite("Names of clients")
struct ClientNameTests {
  private let names = ClientNames(secret: "a secret of at least 32 bytes, for tests")

  @Test("They say the network, tell its addresses apart, and keep the address to themselves")
  func addresses() {
    let name = names.name(of: "203.0.113.9")
    #expect(name.hasPrefix("203.0.113.0/24#") && name.count == "203.0.113.0/24#".count + 10)
    #expect(name == names.name(of: "203.0.113.9") && name != names.name(of: "203.0.113.10"))
    #expect(name != ClientNames(secret: "another secret of at least 32 bytes!").name(of: "203.0.113.9"))
    #expect(names.name(of: "2001:db8:0:100::") == "2001:db8:0:100::/56")
  }
}
