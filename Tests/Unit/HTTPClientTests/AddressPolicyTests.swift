import EventLoop
import HTTPServer
import Logging
import Testing

@testable import HTTPClient

@Suite("Where somebody else's addresses may lead")
struct AddressPolicyTests {
  @Test(
    "This machine, private networks and what is of no use are not the internet",
    arguments: [
      "127.0.0.1", "127.255.255.255", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
      "100.64.0.1",
      "169.254.169.254", "192.0.0.1", "198.18.0.1", "198.19.255.255", "203.0.113.7", "224.0.0.1",
      "255.255.255.255", "::1",
      "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "2001::1", "2002:a00:1::1",
      "::ffff:10.0.0.1",
      "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1",
    ])
  func notPublic(text: String) throws {
    #expect(try !#require(NetworkAddress(text)).isPublic)
    #expect(try !AddressPolicy().allows(#require(NetworkAddress(text))))
  }

  @Test(
    "The rest is",
    arguments: [
      "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101",
    ])
  func isPublic(text: String) throws { #expect(try #require(NetworkAddress(text)).isPublic) }

  @Test(
    "What is no address is none",
    arguments: ["", "localhost", "1.2.3", "1.2.3.4.5", "0x7f.1", "::g", "127.1", "2130706433"])
  func noAddress(text: String) { #expect(NetworkAddress(text) == nil) }

  @Test("Blocks are allowed that are named, and no others")
  func blocks() throws {
    let policy = try #require(AddressPolicy(blocks: "10.0.0.0/9, 192.168.7.5,fd00::/8"))
    let addresses = ["10.127.0.1", "10.128.0.1", "192.168.7.5", "192.168.7.6", "fd01::1", "fe80::1"]
    #expect(
      try addresses.map { try policy.allows(#require(NetworkAddress($0))) } == [
        true, false, true, false, true, false,
      ])
    #expect(!policy.allowsPlain)
    #expect(AddressPolicy(blocks: "127.0.0.0/8")?.allowsPlain == true)
    for wrong in ["10.0.0.0/33", "10.0.0/8", "all", "10.0.0.0/-1", "1.1.1.1/"] {
      #expect(AddressPolicy(blocks: wrong) == nil)
    }
  }

  @Test(
    "Addresses are of TLS, with neither user nor fragment",
    arguments: [
      ("https://shop.example/hook?x=1", true), ("http://shop.example/", false),
      ("http://127.0.0.1:8000/", true),
      ("http://[::1]/", true), ("http://localhost/x", true), ("http://localhost.example/", false),
      ("ftp://shop.example/", false),
      ("https://", false), ("https://user:pw@shop.example/", false), ("https://shop.example/#x", false),
      ("https://shop.example/ x", false), ("https://shop.example\\@evil.example/", false),
      ("http://127.0.0.1@evil.example/", false),
    ])
  func urls(url: String, isRight: Bool) {
    #expect((AddressPolicy.problem(with: url, allowsPlain: true) == nil) == isRight)
    if url.hasPrefix("http:") { #expect(AddressPolicy.problem(with: url, allowsPlain: false) != nil) }
  }

  @Test("A client connects to nothing else, whatever a name leads to", arguments: ["127.0.0.1", "localhost"])
  @LoopActor
  func client(host: String) async throws {
    var seen = 0
    var router = Router()
    router.on(.get, "/") { _ in
      seen += 1
      return .now(HTTPResponse(status: 200, headers: [], body: []))
    }
    let server = HTTPServer(HTTPServerConfiguration(port: 0), router: router, logger: Logger(label: "test"))
    try await server.start()
    for (policy, isAllowed) in [
      (AddressPolicy(), false), (try #require(AddressPolicy(blocks: "127.0.0.0/8")), true),
    ] {
      var configuration = HTTPClientConfiguration()
      configuration.connectsTo = { policy.allows($0) }
      let client = HTTPClient(configuration)
      do {
        let answer = try await client.send(HTTPClientRequest(url: "http://\(host):\(server.port)/"))
        #expect(isAllowed && answer.status == 200)
      } catch let error as HTTPClientError {
        #expect(!isAllowed && error.code == .connectFailed && error.nothingWasSent)
      }
      client.close()
    }
    await server.stop()
    #expect(seen == 1)
  }
}
