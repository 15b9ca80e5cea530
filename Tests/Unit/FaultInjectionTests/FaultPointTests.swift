import EventLoop
import FaultInjection
import Foundation
import Testing

@Suite("Fault points")
struct FaultPointTests {
  static let sources = URL(filePath: #filePath).appending(path: "../../../../Sources").standardized

  static func files(_ module: String) throws -> [(name: String, text: String)] {
    let directory = sources.appending(path: "Service/\(module)")
    return try FileManager.default.subpathsOfDirectory(atPath: directory.path).sorted()
      .filter { $0.hasSuffix(".swift") }
      .map { ("\(module)/\($0)", try String(contentsOf: directory.appending(path: $0), encoding: .utf8)) }
  }

  @Test(
    "Every wait for a server is a named fault point", arguments: ["Worker", "Webhooks", "Intake", "Indexer"])
  func everyWaitIsNamed(module: String) throws {
    let scans = try Self.files(module).map { (name: $0.name, scan: SourceScan($0.text)) }
    let names = scans.reduce(into: Set<String>()) { $0.formUnion($1.scan.serverNames) }
    #expect(!names.isEmpty)
    let unnamed = scans.flatMap { file in file.scan.unnamedWaits(on: names).map { "\(file.name):\($0)" } }
    #expect(unnamed == [])
  }

  @Test("A wait without a name is found, wherever it stands")
  func theScanFindsWhatIsPlanted() {
    let scan = SourceScan(
      """
      let queue: QueueStore, provider: any PaymentProvider
      func f() async throws {
        // try await queue.comment()
        let a = try await Faults.point(.a) { try await queue.named() }
        for b in try await Faults.point(.b, { try await queue.named() }) { _ = try await provider.planted(b) }
        guard let c = try? await queue.alsoPlanted(a) else { return }
        let d = try await Faults.point(.c) { try await queue.part.named() }
        _ = try await !queue.part.planted(d)
        try await queue.owned(event: 1, epoch: 2).planted()
      }
      """)
    #expect(scan.serverNames == ["queue", "provider"])
    #expect(
      scan.unnamedWaits(on: scan.serverNames)
        == [
          "5: await provider.planted", "6: await queue.alsoPlanted", "8: await !queue.part.planted",
          "9: await queue.owned",
        ])
  }

  @Test("Every fault point is crossed somewhere", arguments: FaultPoint.allCases)
  func everyPointIsUsed(point: FaultPoint) throws {
    let text = try ["Worker", "Webhooks", "Intake", "Indexer"].flatMap { try Self.files($0) }.map(\.text)
      .joined()
    #expect(text.contains("Faults.point(.\(point))") || text.contains("Faults.point(.\(point),"))
  }

  @Test("Without a wish nothing happens at a fault point")
  @LoopActor
  func offByDefault() async throws {
    #expect(Faults.check() == nil)
    #expect(try await Faults.point(.confirmSettle) { 7 } == 7)
  }
}
