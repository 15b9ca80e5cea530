import CLibUV
import CSwiftJobs
import Foundation
import Synchronization

/// The process's one event loop: a libuv loop on its own thread that also runs Swift's jobs.
///
/// Everything of a process that touches a socket is isolated to `LoopActor`, whose executor this is.
/// One loop a process keeps every component free of locks; a role is scaled by running more processes.
/// Deadlines are loop timers (`sleep(for:)`, `LoopTimer`): `Task.sleep` would leave the loop.
package final class EventLoop: SerialExecutor, @unchecked Sendable {
  /// The loop of this process. Its thread starts at first use and lives as long as the process.
  package static let shared = EventLoop()

  /// How often a drain may find new jobs before sockets get their turn again.
  private static let roundsPerDrain = 8
  /// How long jobs may run in one turn, in nanoseconds, before sockets get theirs, and jobs between two looks at the
  /// clock. Ten thousand long polls that one message ends are answered over several turns, and nobody else waits for
  /// all of them.
  private static let jobNanoseconds: UInt64 = 10_000_000
  private static let jobsPerLook = 32

  private struct Pending {
    var jobs: [UnownedJob] = []
    /// Whether `wake` was signalled and not seen yet; coalesces the eventfd writes of other threads.
    var wakeSignalled = false
  }

  private let pending = Mutex(Pending())
  /// Handles live at fixed addresses, because libuv keeps pointers to them. Only the loop's thread uses
  /// them after `init`, except `uv_async_send`, which libuv documents as safe from any thread.
  private let loop = UnsafeMutablePointer<uv_loop_t>.allocate(capacity: 1)
  private let wake = UnsafeMutablePointer<uv_async_t>.allocate(capacity: 1)
  private let beforePoll = UnsafeMutablePointer<uv_prepare_t>.allocate(capacity: 1)
  private let afterPoll = UnsafeMutablePointer<uv_check_t>.allocate(capacity: 1)
  /// The loop's thread, set before anything can be enqueued from it.
  private let thread = Atomic<UInt>(0)
  /// Reused between drains so that a steady state allocates nothing. Loop thread only, as what follows.
  private var running: [UnownedJob] = []
  /// The first of `running` that has not run.
  private var next = 0
  /// Who waits for the next turn, and who is to go on in this one.
  private var waitingForTurn: [UnsafeContinuation<Void, Never>] = []
  private var goingOn: [UnsafeContinuation<Void, Never>] = []
  /// Who has something to do when everything else of this turn is done.
  private var turnEnds: [any TurnEnd] = []
  private var ending: [any TurnEnd] = []
  /// How long jobs have run in this turn, in nanoseconds.
  private var jobsTook: UInt64 = 0
  private var figures = LoopTurns()

  private init() {
    // A peer that is gone is an error of the write, for whichever C library writes, and not the end of the process.
    signal(SIGPIPE, SIG_IGN)
    uv_loop_init(loop)
    uv_async_init(loop, wake) { _ in
      EventLoop.shared.beginTurn()
      EventLoop.shared.drain()
    }
    uv_prepare_init(loop, beforePoll)
    uv_check_init(loop, afterPoll)
    let thread = Thread { EventLoop.shared.runForever() }
    thread.name = "event-loop"
    thread.stackSize = 8 << 20
    thread.start()
  }

  private func runForever() {
    thread.store(UInt(pthread_self()), ordering: .releasing)
    // Jobs enqueued by callbacks run right after the poll phase; those enqueued by timers right before it.
    uv_prepare_start(beforePoll) { _ in
      EventLoop.shared.drain()
      EventLoop.shared.callTurnEnds()
      EventLoop.shared.endTurn()
    }
    uv_check_start(afterPoll) { _ in
      EventLoop.shared.beginTurn()
      EventLoop.shared.goOn()
      EventLoop.shared.drain()
    }
    // The async handle stays active for the life of the process, so this returns only if it is closed.
    uv_run(loop, UV_RUN_DEFAULT)
  }

  /// Has the loop run the jobs of no particular executor too, from now on. For a process whose work is all the loop's.
  ///
  /// Swift 6.3 resumes every continuation as such a job, whoever waits for it: from the loop to a thread of the pool, which
  /// finds that the waiting function belongs to the loop, and hands it back. That woke two threads for every answer of
  /// Redis, PostgreSQL or HTTP, and was a tenth of a worker's time.
  package nonisolated static func runEverything() {
    _ = shared
    swift_jobs_run_with { job in
      guard let job else { return }
      EventLoop.shared.enqueue(unsafeBitCast(job, to: UnownedJob.self))
    }
  }

  /// Whether the caller runs on the loop's thread.
  package var isCurrent: Bool {
    thread.load(ordering: .acquiring) == UInt(pthread_self())
  }

  package func enqueue(_ job: UnownedJob) {
    let onLoop = isCurrent
    let mustWake = pending.withLock { pending in
      pending.jobs.append(job)
      if onLoop || pending.wakeSignalled { return false }
      pending.wakeSignalled = true
      return true
    }
    if mustWake { uv_async_send(wake) }
  }

  package func enqueue(_ job: consuming ExecutorJob) {
    enqueue(UnownedJob(job))
  }

  package func asUnownedSerialExecutor() -> UnownedSerialExecutor {
    UnownedSerialExecutor(ordinary: self)
  }

  package func checkIsolated() {
    precondition(isCurrent, "expected to run on the event loop")
  }

  package func isIsolatingCurrentContext() -> Bool? {
    isCurrent
  }

  private func drain() {
    var startedAt: UInt64 = 0
    for _ in 0..<Self.roundsPerDrain {
      if next == running.count {
        running.removeAll(keepingCapacity: true)
        next = 0
        pending.withLock { pending in
          pending.wakeSignalled = false
          swap(&pending.jobs, &running)
        }
        if running.isEmpty { break }
      }
      if startedAt == 0 { startedAt = uv_hrtime() }
      while next < running.count {
        let job = running[next]
        next += 1
        job.runSynchronously(on: asUnownedSerialExecutor())
        if next % Self.jobsPerLook == 0, jobsTook + (uv_hrtime() - startedAt) >= Self.jobNanoseconds {
          jobsTook += uv_hrtime() - startedAt
          uv_async_send(wake)
          return
        }
      }
    }
    if startedAt != 0 { jobsTook += uv_hrtime() - startedAt }
    // Work keeps arriving: let sockets be polled, without blocking, before the next round.
    if !running.isEmpty { uv_async_send(wake) }
  }

  /// Called by whatever the loop calls first after it has waited for sockets.
  func beginTurn() { figures.begin() }

  private func endTurn() {
    figures.end()
    jobsTook = 0
    if waitingForTurn.isEmpty { return }
    swap(&waitingForTurn, &goingOn)
    // Sockets are looked at without waiting for them.
    uv_async_send(wake)
  }

  private func goOn() {
    if goingOn.isEmpty { return }
    let waiting = goingOn
    goingOn = []
    for continuation in waiting { continuation.resume() }
  }

  /// Lets sockets and everybody else have their turn before the caller goes on with long work. A yield would not, nor a
  /// timer: both may come before sockets are looked at.
  @LoopActor package func nextTurn() async {
    await withUnsafeContinuation { waitingForTurn.append($0) }
  }

  /// Calls `object` when everything else of this turn is done, right before the loop looks at sockets again: for what
  /// gathers what one turn brings. Once for each time that it is asked.
  @LoopActor package func atEndOfTurn(_ object: any TurnEnd) { turnEnds.append(object) }

  private func callTurnEnds() {
    // What one of them sends another may put on its way.
    for _ in 0..<Self.roundsPerDrain where !turnEnds.isEmpty {
      swap(&turnEnds, &ending)
      LoopActor.assumeIsolated {
        for object in ending { object.turnEnds() }
      }
      ending.removeAll(keepingCapacity: true)
      drain()
    }
    if !turnEnds.isEmpty { uv_async_send(wake) }
  }

  /// How long the loop's turns took.
  @LoopActor package var turns: LoopTurns { figures }

  /// The libuv loop, for wrappers in this module. Only to be used on the loop's thread.
  var handle: UnsafeMutablePointer<uv_loop_t> { loop }

  /// Milliseconds on the loop's monotonic clock, cached once per iteration.
  @LoopActor package var now: UInt64 { uv_now(loop) }
}

/// Who has something to do at the end of a turn of the loop.
@LoopActor
package protocol TurnEnd: AnyObject {
  func turnEnds()
}

/// The global actor of everything that runs on the process's event loop.
@globalActor package actor LoopActor {
  package static let shared = LoopActor()

  package nonisolated var unownedExecutor: UnownedSerialExecutor {
    EventLoop.shared.asUnownedSerialExecutor()
  }

  /// Runs `body` at once in a C callback that the loop made, and traps if the caller is anywhere else.
  package static func assumeIsolated<Result>(
    _ body: @LoopActor () throws -> Result
  ) rethrows -> Result {
    EventLoop.shared.checkIsolated()
    return try withoutActuallyEscaping(body) { body in
      // The same step that `MainActor.assumeIsolated` takes: only the isolation is erased.
      try unsafeBitCast(body, to: (() throws -> Result).self)()
    }
  }
}
