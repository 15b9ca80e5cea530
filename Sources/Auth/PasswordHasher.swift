import CSodium
package import EventLoop
import Foundation

/// Hashes passwords with argon2id at libsodium's interactive limits (64 MiB, some 50 ms each), one at a time
/// on a thread of its own: neither the loop nor more than one core is ever busy with it. The thread is nice: a sale that
/// needs the processors has them, and whoever signs in waits.
///
/// Bounded: with `capacity` waiting, `AuthError.busy` is thrown at once, and after `longestWaitMilliseconds` to those who
/// have waited so long.
@LoopActor
package final class PasswordHasher {
  /// At some 20 hashes a second the last one waits about three seconds.
  package static let defaultCapacity = 64
  /// Beside a thread of the usual priority it gets a tenth of a processor: some two hashes a second, however busy the
  /// machine, and no more than the sale can spare.
  package nonisolated static let niceness: Int32 = 10
  /// Whoever waits longer has given up, or will.
  package nonisolated static let defaultLongestWaitMilliseconds: UInt64 = 10_000

  private let capacity: Int
  private let longestWaitMilliseconds: UInt64
  package private(set) var waiting = 0
  private let worker = SerialThread(name: "passwords", niceness: PasswordHasher.niceness)
  /// Lets a login of an unknown user take as long as one of a known user.
  private var dummy: String?

  package init(
    capacity: Int = PasswordHasher.defaultCapacity,
    longestWaitMilliseconds: UInt64 = PasswordHasher.defaultLongestWaitMilliseconds
  ) {
    self.capacity = capacity
    self.longestWaitMilliseconds = longestWaitMilliseconds
  }

  /// The hash to store, with its salt and parameters.
  /// - Parameter places: how many may wait before `AuthError.busy`; `nil` for all places. Less than all of them
  ///   leaves the rest to others.
  package func hash(_ password: String, places: Int? = nil) async throws(AuthError) -> String {
    let hash = try await run(places: places) { Self.hash(password) }
    guard let hash else { throw AuthError(.busy, "no memory to hash a password") }
    return hash
  }

  /// - Parameter hash: what `hash` returned; `nil` when there is none, which takes the same time and is
  ///   false.
  package func verify(_ password: String, against hash: String?) async throws(AuthError) -> Bool {
    if let hash { return try await run { Self.verify(password, hash) } }
    if dummy == nil { dummy = try await self.hash("nobody's password") }
    let dummy = dummy ?? ""
    _ = try await run { Self.verify(password, dummy) }
    return false
  }

  private func run<R: Sendable>(
    places: Int? = nil, _ work: @escaping @Sendable () -> R
  ) async throws(AuthError) -> R {
    guard waiting < min(capacity, places ?? capacity) else {
      throw AuthError(.busy, "too many passwords wait to be hashed")
    }
    waiting += 1
    defer { waiting -= 1 }
    let deadline = Self.now + longestWaitMilliseconds
    let result: R? = await withUnsafeContinuation { continuation in
      worker.submit { continuation.resume(returning: Self.now < deadline ? work() : nil) }
    }
    guard let result else { throw AuthError(.busy, "the password waited too long to be hashed") }
    return result
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
