import Foundation
import Testing

/// The executable as it is built beside these tests.
@Suite("Settings")
struct SettingsTests {
  private static let binary = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appending(path: "onsale")

  /// Runs a command that ends by itself; its exit status and what it says to standard error.
  private func run(_ arguments: [String], _ environment: [String: String]) throws -> (Int32, String) {
    let process = Process()
    let errors = Pipe()
    process.executableURL = Self.binary
    process.arguments = arguments
    process.environment = environment
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = errors
    try process.run()
    let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return (process.terminationStatus, text)
  }

  @Test("What every request would fail by is refused at the start, all of it at once, and no secret is told")
  func refused() throws {
    let (status, text) = try run(
      ["worker"],
      [
        "ONSALE_DATABASE_URL": "postgres://u@127.0.0.1/d", "ONSALE_REDIS_URL": "redis://127.0.0.1",
        "ONSALE_PAYMENT_URL": "payments.example.com", "ONSALE_PAYMENT_KEY": "sk_live_1\n",
        "ONSALE_SEARCH_URL": "http://127.0.0.1:9200 ", "ONSALE_TIME_ZONE": "Berlin",
        "ONSALE_CORS_ORIGINS": "https://shop.example.com, https://shop.example.com/tickets",
        "ONSALE_TRUSTED_PROXIES": "10.0.0.0/8, proxy.example.com", "ONSALE_CONNECTIONS_PER_ADDRESS": "-1",
      ])
    #expect(status == 64)
    for name in [
      "ONSALE_PAYMENT_URL", "ONSALE_PAYMENT_KEY", "ONSALE_SEARCH_URL", "ONSALE_TIME_ZONE",
      "ONSALE_CORS_ORIGINS", "ONSALE_TRUSTED_PROXIES", "ONSALE_CONNECTIONS_PER_ADDRESS",
    ] {
      #expect(text.contains("onsale: \(name) must"), "\(text)")
    }
    #expect(!text.contains("sk_live_1"))
  }

  @Test("Options and settings that are wrong are told together, whichever command they are of")
  func together() throws {
    for (arguments, environment, told) in [
      (
        ["serve", "--roles", "catalogue,web,intakes"],
        ["ONSALE_DATABASE_URL": "postgres://[", "ONSALE_DATABASE_POOLER": "transaction"],
        [
          "role \"catalogue\"", "role \"intakes\"", "ONSALE_DATABASE_URL cannot",
          "ONSALE_DATABASE_POOLER must",
          "ONSALE_REDIS_URL is not set", "ONSALE_JWT_SECRET is not set",
        ]
      ),
      (["worker", "now", "please"], [:], ["\"now\"", "\"please\"", "ONSALE_PAYMENT_URL is not set"]),
      (
        ["migrate", "--wait", "x", "--clear"], [:],
        ["--wait takes", "\"--clear\"", "ONSALE_DATABASE_URL is not set"]
      ),
      (
        ["indexer"],
        ["ONSALE_MAIL_URL": "smtp://user@mail.example.com", "ONSALE_DECLINES_PER_USER": "many"],
        [
          "ONSALE_MAIL_URL with ONSALE_MAIL_FROM cannot", "ONSALE_URL is not set",
          "ONSALE_DECLINES_PER_USER must",
        ]
      ),
      (
        ["admin", "list"], ["ONSALE_REJOIN_SECONDS": "soon"],
        ["ONSALE_DATABASE_URL is not set", "ONSALE_REDIS_URL is not set", "ONSALE_REJOIN_SECONDS must"]
      ),
      (
        ["admin", "import", "--tickets", "1", "--price", "Gold", "--price", "7", "--capacity", "Pit:0", "f"],
        [:],
        ["not \"Gold\"", "not \"7\"", "not \"Pit:0\""]
      ),
    ] as [([String], [String: String], [String])] {
      let (status, text) = try run(arguments, environment)
      #expect(status == 64)
      for words in told { #expect(text.contains(words), "\(words): \(text)") }
    }
  }

  @Test("Every mistake of every line of a file of events is told, and no server is asked")
  func files() throws {
    let path = NSTemporaryDirectory() + "onsale-\(UUID().uuidString).jsonl"
    defer { try? FileManager.default.removeItem(atPath: path) }
    let good = #"{"name":"A","location":"H","date":"2032-05-01T19:30:00Z","currency":"EUR","#
    let lines = [
      good + #""sections":[{"name":"Stalls","price":"x","rows":[{"row":"A","seats":0}]}]}"#, "",
      good + #""sections":[{"name":"S","price":100,"capacity":1}]}"#, "{", #"{"name":7}"#,
    ]
    try lines.joined(separator: "\n").write(toFile: path, atomically: true, encoding: .utf8)
    let (status, text) = try run(["admin", "import", "--events", path], [:])
    #expect(status == 65)
    for words in [
      "Line 1: Section \"Stalls\": the field `sections[0].price`",
      "Line 1: Section \"Stalls\", row \"A\": the field `sections[0].rows[0].seats`",
      "Line 4: The body is not JSON",
      "Line 5: The field `name`", "Line 5: The field `location`", "Line 5: The field `date`",
      "Line 5: The field `currency`", "Line 5: The field `sections`", "Nothing was taken.",
    ] {
      #expect(text.contains(words), "\(words): \(text)")
    }
    #expect(!text.contains("Line 3"))
  }

  @Test(
    "The payment stub does not start without a key, or with one that moves money",
    arguments: ["", "sk_live_51abc", "rk_live_51abc", "pk_live_51abc"])
  func stubKey(_ key: String) throws {
    let (status, text) = try run(
      ["payments"],
      [
        "ONSALE_PAYMENT_LEDGER": "/dev/null", "ONSALE_PAYMENT_PORT": "0", "ONSALE_PAYMENT_KEY": key,
      ])
    #expect(status == 64)
    #expect(text.contains("onsale: ONSALE_PAYMENT_KEY is "), "\(text)")
    #expect(!text.contains("51abc"))
  }

  @Test("A secret that is too short is refused by its name, the former ones too, and is not told")
  func shortSecrets() throws {
    let names = ["JWT_SECRET", "JWT_SECRET_PREVIOUS", "REQUEST_SECRET", "REQUEST_SECRET_PREVIOUS"]
    for name in names {
      var environment = [
        "ONSALE_DATABASE_URL": "postgres://u@127.0.0.1/d", "ONSALE_REDIS_URL": "redis://127.0.0.1",
        "ONSALE_JWT_SECRET": "0123456789abcdef0123456789abcdef",
      ]
      environment["ONSALE_\(name)"] =
        name.hasSuffix("PREVIOUS") ? "0123456789abcdef0123456789abcdef,tiny" : "tiny"
      let (status, text) = try run(["serve"], environment)
      #expect(status == 64)
      #expect(text.contains("ONSALE_\(name) is shorter than 32 bytes") && !text.contains("tiny"), "\(text)")
    }
  }
}
