import EventLoop
import Foundation
import Testing

@testable import Identity

@Suite("Passwords", .serialized)
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
    let hasher = PasswordHasher(threads: 1, capacity: 2)
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
    let hasher = PasswordHasher(threads: 1, capacity: 3)
    let first = Task { @LoopActor in try await hasher.hash("the first", places: 1) }
    await Task.yield()
    let second = Task { @LoopActor in try await hasher.hash("the second", places: 1) }
    let known = Task { @LoopActor in try await hasher.verify("x", against: "not a hash") }
    _ = try await first.value
    await #expect(throws: AuthError.self) { try await second.value }
    #expect(try await !known.value)
  }

  @Test("Many who are known take no place of others, and others none of theirs")
  func sharedOut() async throws {
    let hasher = PasswordHasher(threads: 1, capacity: 8, longestWaitMilliseconds: 120_000)
    func start(_ count: Int, isKnown: Bool) -> [Task<Bool, Never>] {
      (0..<count).map { number in
        Task { @LoopActor in (try? await hasher.hash("\(number)", isKnown: isKnown)) != nil }
      }
    }
    let known = start(20, isKnown: true)
    while hasher.waiting < 2 { await Task.yield() }
    #expect(!hasher.hasRoomForKnown)
    let others = start(20, isKnown: false)
    var served = [0, 0]
    for task in known where await task.value { served[0] += 1 }
    for task in others where await task.value { served[1] += 1 }
    #expect(served == [2, 6], "\(served)")
    #expect(hasher.hasRoomForKnown && hasher.waiting == 0 && hasher.doneOthers == 6)
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

  @Test("Those who are known come first, and have places that nobody else gets")
  func known() async throws {
    let hasher = PasswordHasher(threads: 1, capacity: 8, longestWaitMilliseconds: 120_000)
    var order: [String] = []
    func start(_ name: String, isKnown: Bool) -> Task<Bool, Never> {
      Task { @LoopActor in
        do throws(AuthError) {
          _ = try await hasher.hash(name, isKnown: isKnown)
          order.append(name)
          return true
        } catch { return false }
      }
    }
    let strangers = (0..<7).map { start("stranger \($0)", isKnown: false) }
    while hasher.waiting < 6 { await Task.yield() }
    let owners = (0..<3).map { start("owner \($0)", isKnown: true) }
    var served: [Bool] = []
    for task in strangers + owners { served.append(await task.value) }
    #expect(served == [true, true, true, true, true, true, false, true, true, false])
    // One was with the thread when they came.
    #expect(Array(order[1...2]) == ["owner 0", "owner 1"] && order.count == 8, "\(order)")
  }

  @Test("Passwords are hashed by a thread for each processor, which give way to a sale, and by no other")
  func niceThreads() async throws {
    let before = try Self.niceness(ofThreads: "passwords")
    let hasher = PasswordHasher(threads: 2)
    let own = (0..<4).map { number in Task { @LoopActor in _ = try await hasher.hash("\(number)") } }
    for task in own { try await task.value }
    // One thread may have done all before the other had its name.
    var now: [String: Int] = [:]
    for _ in 0..<6_000 where now.count < 2 {
      now = try Self.niceness(ofThreads: "passwords").filter { before[$0.key] == nil }
      await Task.yield()
    }
    // The threads end with it.
    #expect(hasher.waiting == 0)
    #expect(Array(now.values) == [Int](repeating: Int(PasswordHasher.niceness), count: 2))
    #expect(PasswordHasher.niceness > 0)
    let main = try String(contentsOfFile: "/proc/self/stat", encoding: .utf8)
    #expect(main.split(separator: ")").last?.split(separator: " ")[16] == "0", "the rest is as before")
  }

  @Test("Whoever has waited too long is told so, and costs no hash")
  func longestWait() async throws {
    let hasher = PasswordHasher(longestWaitMilliseconds: 0)
    await #expect(throws: AuthError.self) { try await hasher.hash("too late") }
    #expect(hasher.waiting == 0)
  }
}
