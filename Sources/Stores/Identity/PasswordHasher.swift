import CSodium
package import EventLoop
import Foundation

/// Hashes passwords with argon2id at libsodium's interactive limits (64 MiB, some 50 ms each), one for each processor at a
/// time, on threads of its own: the loop is never busy with it. The threads are nice: they take what processors have idle,
/// a sale that needs them has them, and whoever signs in waits.
///
/// Bounded: with `capacity` waiting, `AuthError.busy` is thrown at once, and after `longestWaitMilliseconds` to those who
/// have waited so long. A quarter of all places is for those who are known here, who come before everyone else, and the rest
/// for everyone else: neither takes the other's, however many accounts somebody has who wants to.
@LoopActor
package final class PasswordHasher {
  /// At some 20 hashes a second and processor the last one waits some seconds.
  package nonisolated static let defaultCapacity = 256
  /// Each takes 64 MiB.
  package nonisolated static let mostThreads = 4
  /// Beside a thread of the usual priority one gets a tenth of a processor: some two hashes a second, however busy the
  /// machine, and no more than the sale can spare.
  package nonisolated static let niceness: Int32 = 10
  /// Whoever waits longer has given up, or will.
  package nonisolated static let defaultLongestWaitMilliseconds: UInt64 = 10_000

  private let capacity: Int
  package let longestWaitMilliseconds: UInt64
  /// Those who wait, and those whose password is being hashed.
  package var waiting: Int { waitingKnown + waitingOthers }
  package private(set) var waitingKnown = 0
  package private(set) var waitingOthers = 0
  /// Passwords of those who are not known that were hashed so far.
  package private(set) var doneOthers = 0
  /// From one password that is hashed to the next while some wait, as the last ones took.
  package private(set) var millisecondsEach: Double
  private let threads: Int
  private var idle: [SerialThread]
  private var known: [UnsafeContinuation<SerialThread, Never>] = []
  private var others: [UnsafeContinuation<SerialThread, Never>] = []
  private var knownInTurn = 0
  private static let knownBeforeOthers = 3
  private static let usualMilliseconds = 50.0
  /// How much of what was known of the time of one stays with the next.
  private static let memory = 0.9
  /// Lets a login of an unknown user take as long as one of a known user.
  private var dummy: String?

  package init(
    threads: Int = min(PasswordHasher.mostThreads, ProcessInfo.processInfo.activeProcessorCount),
    capacity: Int = PasswordHasher.defaultCapacity,
    longestWaitMilliseconds: UInt64 = PasswordHasher.defaultLongestWaitMilliseconds
  ) {
    self.capacity = capacity
    self.longestWaitMilliseconds = longestWaitMilliseconds
    self.threads = max(1, threads)
    millisecondsEach = Self.usualMilliseconds / Double(self.threads)
    idle = (0..<self.threads).map { _ in SerialThread(name: "passwords", niceness: Self.niceness) }
  }

  private var placesOfKnown: Int { capacity / 4 }
  private var placesOfOthers: Int { capacity - placesOfKnown }

  /// Whether somebody who is known here finds a place.
  package var hasRoomForKnown: Bool { waitingKnown < placesOfKnown }

  /// The hash to store, with its salt and parameters.
  /// - Parameters:
  ///   - places: how many who are not known may wait before `AuthError.busy`; `nil` for as many as there are places for.
  ///     Less than all of them leaves the rest to others.
  ///   - isKnown: whether it is of somebody who is known here.
  package func hash(
    _ password: String, places: Int? = nil, isKnown: Bool = false
  ) async throws(AuthError) -> String {
    let hash = try await run(places: places, isKnown: isKnown) { Self.hash(password) }
    guard let hash else { throw AuthError(.busy, "no memory to hash a password") }
    return hash
  }

  /// - Parameters:
  ///   - hash: what `hash` returned; `nil` when there is none, which takes the same time and is false.
  ///   - isKnown: whether it is of somebody who is known here.
  package func verify(
    _ password: String, against hash: String?, isKnown: Bool = false
  ) async throws(AuthError) -> Bool {
    if let hash { return try await run(isKnown: isKnown) { Self.verify(password, hash) } }
    if dummy == nil { dummy = try await self.hash("nobody's password", isKnown: isKnown) }
    let dummy = dummy ?? ""
    _ = try await run(isKnown: isKnown) { Self.verify(password, dummy) }
    return false
  }

  private func run<R: Sendable>(
    places: Int? = nil, isKnown: Bool, _ work: @escaping @Sendable () -> R
  ) async throws(AuthError) -> R {
    guard isKnown ? hasRoomForKnown : waitingOthers < min(placesOfOthers, places ?? capacity) else {
      throw AuthError(.busy, "too many passwords wait to be hashed")
    }
    if isKnown { waitingKnown += 1 } else { waitingOthers += 1 }
    defer { if isKnown { waitingKnown -= 1 } else { waitingOthers -= 1 } }
    let deadline = Self.now + longestWaitMilliseconds
    let thread: SerialThread
    if let free = idle.popLast() {
      thread = free
    } else {
      thread = await withUnsafeContinuation { continuation in
        if isKnown { known.append(continuation) } else { others.append(continuation) }
      }
    }
    defer { giveBack(thread) }
    let (result, took): (R?, UInt64) = await withUnsafeContinuation { continuation in
      thread.submit {
        let began = Self.now
        let result = began < deadline ? work() : nil
        continuation.resume(returning: (result, Self.now - began))
      }
    }
    if result != nil {
      if !isKnown { doneOthers += 1 }
      millisecondsEach =
        Self.memory * millisecondsEach + (1 - Self.memory) * Double(took) / Double(threads)
    }
    guard let result else { throw AuthError(.busy, "the password waited too long to be hashed") }
    return result
  }

  private func giveBack(_ thread: SerialThread) {
    // Every fourth is somebody else's, so that many who are known keep nobody out for good.
    if !known.isEmpty, others.isEmpty || knownInTurn < Self.knownBeforeOthers {
      knownInTurn += 1
      known.removeFirst().resume(returning: thread)
    } else if !others.isEmpty {
      knownInTurn = 0
      others.removeFirst().resume(returning: thread)
    } else {
      idle.append(thread)
    }
  }

  /// Milliseconds; the loop's own clock is for its thread alone.
  private nonisolated static var now: UInt64 { DispatchTime.now().uptimeNanoseconds / 1_000_000 }

  // Swift hands a String to C as its UTF-8 text, and the length says where it ends, so a zero inside is no
  // end.

  private nonisolated static func hash(_ password: String) -> String? {
    var out = [CChar](repeating: 0, count: Int(crypto_pwhash_STRBYTES))
    let status = crypto_pwhash_str(
      &out, password, UInt64(password.utf8.count), UInt64(crypto_pwhash_OPSLIMIT_INTERACTIVE),
      Int(crypto_pwhash_MEMLIMIT_INTERACTIVE))
    guard status == 0 else { return nil }
    return String(decoding: out.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private nonisolated static func verify(_ password: String, _ hash: String) -> Bool {
    crypto_pwhash_str_verify(hash, password, UInt64(password.utf8.count)) == 0
  }
}
