import Foundation
import FuzzTargets
import Testing

/// What the fuzzer has found worth keeping, and what once broke a decoder: all of it passes, in every run of the tests.
struct CorpusTests {
  private static let corpora = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "../Corpora").standardizedFileURL

  @Test(
    "Every input that is kept decodes, or is refused, as its target promises", arguments: FuzzTarget.allCases)
  func replay(_ target: FuzzTarget) throws {
    let directory = Self.corpora.appending(path: target.rawValue)
    let inputs = try FileManager.default.contentsOfDirectory(at: directory, includingPropertiesForKeys: nil)
    #expect(!inputs.isEmpty, "\(target) has no corpus")
    for input in inputs {
      let bytes = try [UInt8](Data(contentsOf: input))
      bytes.withUnsafeBufferPointer(target.run)
      // Also cut short anywhere: what comes over a network does.
      for end in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 50)) {
        bytes[..<end].withUnsafeBufferPointer(target.run)
      }
    }
  }

  @Test("No folder of inputs is left over from a target that is gone")
  func folders() throws {
    let folders = try FileManager.default.contentsOfDirectory(atPath: Self.corpora.path)
    #expect(Set(folders) == Set(FuzzTarget.allCases.map(\.rawValue)))
  }
}
