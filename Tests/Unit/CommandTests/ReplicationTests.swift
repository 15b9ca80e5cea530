import Testing

@testable import onsale

@Suite("The warning that a failover would lose purchases")
struct ReplicationTests {
  @Test("A single server, which has no standby to wait for, is warned of nothing")
  func single() {
    var warning = ReplicationWatch.Warning()
    #expect(warning.next(isSynchronous: false, hasStandby: false) == nil)
  }

  @Test("Where a standby streams that no commit waits for it is said once, and again after it was right")
  func asynchronous() {
    var warning = ReplicationWatch.Warning()
    #expect(warning.next(isSynchronous: false, hasStandby: true) == .loses)
    #expect(warning.next(isSynchronous: false, hasStandby: true) == nil)
    #expect(warning.next(isSynchronous: true, hasStandby: true) == .isOver)
    #expect(warning.next(isSynchronous: true, hasStandby: true) == nil)
    #expect(warning.next(isSynchronous: false, hasStandby: true) == .loses)
  }

  @Test("A standby that is away for a while is no reason to take it back, nor to say it again")
  func away() {
    var warning = ReplicationWatch.Warning()
    #expect(warning.next(isSynchronous: false, hasStandby: true) == .loses)
    #expect(warning.next(isSynchronous: false, hasStandby: false) == nil)
    #expect(warning.next(isSynchronous: false, hasStandby: true) == nil)
  }
}
