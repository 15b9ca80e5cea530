/// Suspends for a time on the loop's clock.
/// - Throws: `CancellationError`, at once, if the task is cancelled before or meanwhile.
@LoopActor
package func sleep(milliseconds: UInt64) async throws(CancellationError) {
  await Signal().wait(milliseconds: milliseconds)
  if Task.isCancelled { throw CancellationError() }
}
