import Testing

@testable import LoadTest

@Suite("Schedule of a chaos")
struct ChaosScheduleTests {
  private let processes = ["postgres-1", "redis-1", "serve-1", "worker-1", "worker-2"]

  @Test("The same seed gives the same schedule, whatever order the processes are listed in; another another")
  func repeatable() {
    let schedule = ChaosSchedule(seed: 42, seconds: 60, processes: processes)
    #expect(schedule == ChaosSchedule(seed: 42, seconds: 60, processes: processes.reversed()))
    #expect(schedule != ChaosSchedule(seed: 43, seconds: 60, processes: processes))
  }

  @Test("Every kind of disturbance and every process has its turn", arguments: 1...20)
  func everything(seed: Int) {
    let entries = ChaosSchedule(seed: seed, seconds: 600, processes: processes).entries
    for process in processes {
      #expect(entries.contains { $0.act == .kill(process) }, "\(process)")
      #expect(entries.contains { $0.act == .stop(process) }, "\(process)")
    }
    for act: ChaosSchedule.Act in [.cut(.redis), .cut(.postgres), .slow(.redis), .slow(.provider)] {
      #expect(entries.contains { $0.act == act }, "\(act)")
    }
    #expect(entries.allSatisfy { (0..<600_000).contains($0.atMilliseconds) })
    #expect(entries.map(\.atMilliseconds) == entries.map(\.atMilliseconds).sorted())
  }

  @Test("A process is left alone until it has come back", arguments: 1...20)
  func breather(seed: Int) {
    var backAt: [String: Int] = [:]
    for entry in ChaosSchedule(seed: seed, seconds: 600, processes: processes).entries {
      switch entry.act {
      case .kill(let process), .stop(let process):
        #expect(entry.atMilliseconds > backAt[process, default: 0], "\(entry)")
        backAt[process] = entry.atMilliseconds + entry.milliseconds + 3_999
      case .cut, .slow: continue
      }
    }
  }

  @Test("Without processes connections are disturbed all the same")
  func nobody() {
    #expect(!ChaosSchedule(seed: 1, seconds: 60, processes: []).entries.isEmpty)
  }
}
