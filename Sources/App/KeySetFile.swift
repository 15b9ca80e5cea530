import EventLoop
import Foundation
import Identity
import Lifecycle
import Logging

/// Takes a rotated set of public keys while the process runs: the file is looked at every few seconds.
///
/// A file that is away or broken changes nothing; the keys that are known stay in use.
@LoopActor
final class KeySetFile: Service {
  private static let checkMilliseconds: UInt64 = 10_000

  let name = "key-set"
  private let path: String
  private let verifier: TokenVerifier
  private let logger: Logger
  private let timer = LoopTimer()
  private var text: String

  /// - Parameter text: what the verifier has already.
  init(_ path: String, text: String, verifier: TokenVerifier, logger: Logger) {
    self.path = path
    self.text = text
    self.verifier = verifier
    self.logger = logger
  }

  func start() async throws {
    timer.schedule(afterMilliseconds: Self.checkMilliseconds, every: Self.checkMilliseconds) { [weak self] in
      self?.check()
    }
  }

  func stop() async { timer.cancel() }

  private func check() {
    // A few kilobytes of a local file: no need to leave the loop for it.
    guard let current = try? String(contentsOfFile: path, encoding: .utf8) else {
      logger.retrying("the key set cannot be read", ["jwks.file": path])
      return
    }
    logger.worksAgain("the key set cannot be read")
    if current == text { return }
    do throws(AuthError) {
      try verifier.replaceKeys(jwks: current)
      logger.notice("the key set was replaced", ["jwks.file": path])
      for problem in verifier.keyProblems { logger.warning("a key is left out", ["jwks.problem": problem]) }
    } catch {
      logger.warning("the new key set is refused", ["jwks.file": path, "error": error.message])
    }
    // Also a refused one is not tried again before it changes.
    text = current
  }
}
