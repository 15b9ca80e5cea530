import EventLoop
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
}
