import EventLoop
import Lifecycle
import Logging
import Testing

@Suite("The time by which tokens end")
@LoopActor
struct TrustedClockTests {
  /// A machine's two clocks, which the test sets.
  final class Machine {
    var wall = 1_800_000_000_000
    var steady = 5_000

    func pass(_ milliseconds: Int) {
      wall += milliseconds
      steady += milliseconds
    }
  }

  nonisolated private static let hour = 3_600_000

  private func clock(_ machine: Machine) -> TrustedClock {
    TrustedClock(logger: Logger(label: "test"), wall: { machine.wall }, steady: { machine.steady })
  }

  @Test("A step of an hour is not taken over, either way", arguments: [1, -1])
  func step(direction: Int) {
    let machine = Machine(), clock = clock(machine)
    let before = clock.milliseconds
    machine.wall += direction * Self.hour
    machine.pass(60_000)
    #expect(clock.milliseconds == before + 60_000)
    #expect(clock.isApart)
    clock.note(second: before + 60_000)
    #expect(clock.milliseconds == before + 60_000, "the other clock agrees with the old time")
    machine.wall -= direction * Self.hour
    #expect(clock.milliseconds == before + 60_000)
    #expect(!clock.isApart)
  }

  @Test("A clock that is put right is followed once another one agrees with it")
  func correction() {
    let machine = Machine(), clock = clock(machine)
    machine.wall += Self.hour
    _ = clock.milliseconds
    clock.note(second: machine.wall + 400)
    #expect(clock.milliseconds == machine.wall)
    #expect(!clock.isApart)
  }

  @Test("What drifts is followed")
  func drift() {
    let machine = Machine(), clock = clock(machine)
    for _ in 0..<1_000 {
      machine.pass(1_000)
      machine.wall += 20
      #expect(clock.milliseconds == machine.wall)
    }
  }
}
