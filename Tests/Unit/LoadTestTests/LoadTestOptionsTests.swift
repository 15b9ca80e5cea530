import EventLoop
import Testing

@testable import LoadTest

@Suite("Options of the rush")
struct LoadTestOptionsTests {
  @Test("All options are read")
  func reading() throws {
    let options = try LoadTestOptions([
      "--create", "70000", "--buyers=100000", "--quantity", "1..4", "--abandon", "5%", "--declined", "0.03",
      "--buy",
      "--rejoin", "--arrivals", "5000", "--client", "curl", "--no-audit", "--adjacent", "0.2", "--take-fewer",
      "30%",
    ])
    #expect(options.place == .create(seats: 70_000))
    #expect(options.buyers == 100_000)
    #expect(options.quantity == 1...4)
    #expect(options.abandon == 0.05)
    #expect(options.declined == 0.03)
    #expect(options.buys)
    #expect(options.rejoins)
    #expect(options.arrivalsPerSecond == 5_000)
    #expect(options.client == .curl)
    #expect(options.adjacent == 0.2 && options.takeFewer == 0.3)
    #expect(!options.audits)
  }

  @Test(
    "What is wrong is said, all together",
    arguments: [
      ([], 2), (["--event", "1", "--create", "5", "--buyers", "1"], 1),
      (["--event", "x", "--buyers", "0"], 2),
      (["--event", "1", "--buyers", "5", "--abandon", "70%", "--cancel", "40%"], 1),
      (["--event", "1", "--buyers", "5", "--quantity", "4..1", "--what", "extra"], 3),
      (["--event", "1", "--buyers", "5", "--chaos", "60"], 1),
    ])
  func problems(arguments: [String], count: Int) {
    do throws(LoadTestOptions.Problems) {
      _ = try LoadTestOptions(arguments)
      Issue.record("accepted: \(arguments)")
    } catch {
      #expect(error.list.count == count, "\(error.list)")
    }
  }

  @Test("Without a system to play against the exit code says that it could not run")
  func exitCode() async {
    #expect(await LoadTestCommand.run(arguments: [], environment: [:]) == 2)
    let arguments = ["--create", "10", "--buyers", "10"]
    #expect(await LoadTestCommand.run(arguments: arguments, environment: [:]) == 2)
    let environment = [
      "ONSALE_URL": "http://127.0.0.1:1", "ONSALE_JWT_SECRET": "0123456789abcdef0123456789abcdef",
    ]
    #expect(await LoadTestCommand.run(arguments: arguments, environment: environment) == 2)
  }
}
