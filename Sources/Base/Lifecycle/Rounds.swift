import EventLoop
package import Logging

/// Does what is left to do in rounds, until cancelled: the next one at once while there is more, else after a pause. An
/// error ends a round, not the loop.
/// - Parameters:
///   - problem: what is logged of a round that failed.
///   - pausesFirst: whether a pause comes before the first round, as somebody has just done it.
///   - round: returns whether there is more.
@LoopActor
package func repeatRounds(
  _ problem: StaticString, pauseMilliseconds: UInt64, pausesFirst: Bool = false, _ logger: Logger,
  _ round: @LoopActor () async throws -> Bool
) async {
  var isBusy = !pausesFirst
  while !Task.isCancelled {
    if !isBusy {
      do { try await sleep(milliseconds: pauseMilliseconds) } catch { return }
    }
    isBusy = false
    do {
      isBusy = try await round()
      logger.worksAgain(problem)
    } catch is CancellationError {
      return
    } catch {
      logger.retrying(problem, ["error": "\(error)"])
    }
  }
}
