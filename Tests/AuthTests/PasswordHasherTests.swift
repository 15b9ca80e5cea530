import EventLoop
import Foundation
import Testing

@testable import Auth

@Suite("Passwords")
@LoopActor
struct PasswordHasherTests {
  @Test("A password verifies against its own hash only, and the hash hides it")
  func verify() async throws {
    let hasher = PasswordHasher()
    let hash = try await hasher.hash("correct horse\u{0}battery")
    #expect(hash.hasPrefix("$argon2id$"))
    #expect(try await hasher.verify("correct horse\u{0}battery", against: hash))
    #expect(try await !hasher.verify("correct horse", against: hash))
    #expect(try await !hasher.verify("", against: hash))
    #expect(try await hasher.hash("correct horse\u{0}battery") != hash)
  }

  @Test("An unknown user, and a hash that is none, are a plain no")
  func unknown() async throws {
    let hasher = PasswordHasher()
    #expect(try await !hasher.verify("nobody's password", against: nil))
    #expect(try await !hasher.verify("x", against: "not a hash"))
    #expect(try await !hasher.verify("x", against: ""))
  }

  @Test("Past its limit it says so at once, and those before are answered")
  func bounded() async throws {
    let hasher = PasswordHasher(capacity: 2)
    let attempts = (0..<6).map { number in
      Task { @LoopActor in
        do throws(AuthError) {
          _ = try await hasher.hash("password \(number)")
          return true
        } catch {
          #expect(error.code == .busy)
          return false
        }
      }
    }
    var results: [Bool] = []
    for attempt in attempts { results.append(await attempt.value) }
    #expect(results.count { $0 } == 2)
    _ = try await hasher.hash("there is room again")
  }

  @Test("Those who may have some of the places leave the others free")
  func places() async throws {
    let hasher = PasswordHasher(capacity: 3)
    let first = Task { @LoopActor in try await hasher.hash("the first", places: 1) }
    await Task.yield()
    let second = Task { @LoopActor in try await hasher.hash("the second", places: 1) }
    let known = Task { @LoopActor in try await hasher.verify("x", against: "not a hash") }
    _ = try await first.value
    await #expect(throws: AuthError.self) { try await second.value }
    #expect(try await !known.value)
  }

  /// Niceness of this process's threads of that name, as the kernel says.
  private static func niceness(ofThreads name: String) throws -> [String: Int] {
    var found: [String: Int] = [:]
    for thread in try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task") {
      // One that has ended since has no file any more.
      guard let stat = try? String(contentsOfFile: "/proc/self/task/\(thread)/stat", encoding: .utf8),
        let start = stat.firstIndex(of: "("), let end = stat.lastIndex(of: ")")
      else { continue }
      guard stat[stat.index(after: start)..<end] == name else { continue }
      let fields = stat[end...].split(separator: " ")
      // The nineteenth of all; the name is the second.
      found[thread] = Int(fields[17])
    }
    return found
  }

  @Test("Passwords are hashed one at a time, by a thread that gives way to a sale, and by no other")
  func niceThread() async throws {
    let before = try Self.niceness(ofThreads: "passwords")
    let hasher = PasswordHasher()
    let own = Task { @LoopActor in
      for number in 0..<3 { _ = try await hasher.hash("\(number)") }
    }
    _ = try await hasher.hash("beside them")
    let now = try Self.niceness(ofThreads: "passwords").filter { before[$0.key] == nil }
    #expect(Array(now.values) == [Int(PasswordHasher.niceness)])
    #expect(PasswordHasher.niceness > 0)
    let main = try String(contentsOfFile: "/proc/self/stat", encoding: .utf8)
    #expect(main.split(separator: ")").last?.split(separator: " ")[16] == "0", "the rest is as before")
    try await own.value
  }

  @Test("Whoever has waited too long is told so, and costs no hash")
  func longestWait() async throws {
    let hasher = PasswordHasher(longestWaitMilliseconds: 0)
    await #expect(throws: AuthError.self) { try await hasher.hash("too late") }
    #expect(hasher.waiting == 0)
  }
}
