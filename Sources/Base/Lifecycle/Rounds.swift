import EventLoop
package import Logging

/// Does what is left to do in rounds, until cancelled: the next one at once while there is more, else after a pause. An
/// error ends a round, not the loop.
/// - Parameters:
///   - problem: what is logged of a round that failed.
///   - round: returns whether there is more.
@LoopActor
package func repeatRounds(
  _ problem: StaticString, pauseMilliseconds: UInt64, _ logger: Logger,
  _ round: @LoopActor () async throws -> Bool
) async {
  while !Task.isCancelled {
    var isBusy = false
    do {
      isBusy = try await round()
      logger.worksAgain(problem)
    } catch is CancellationError {
      return
    } catch {
      logger.retrying(problem, ["error": "\(error)"])
    }
    if !isBusy {
      do { try await sleep(milliseconds: pauseMilliseconds) } catch { return }
    }
  }
}
