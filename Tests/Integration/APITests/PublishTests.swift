import EventLoop
import HTTPCommon
import JSON
import Redis
import Testing

@testable import Archive
@testable import Ledger
@testable import Queue
@testable import Sale

@Suite("From PostgreSQL to Redis", .serialized)
@LoopActor
struct PublishTests {
  private func settings(_ service: Service, _ id: Int) async throws -> EventSettings {
    try #require(try await service.events.settings(event: id))
  }

  /// What a Redis that came back empty looks like to one partition.
  private func lose(_ service: Service, _ id: Int) async throws {
    let keys = try await service.redis.command(["KEYS", .text("{p\(Partition(of: id).number)}:*")])
    let names = (keys.array ?? []).compactMap(\.text)
    if !names.isEmpty { _ = try await service.redis.command(["DEL"] + names.map { .text($0) }) }
  }

  @Test("A change that did not reach the queue is brought there")
  func healing() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: true)
    #expect(try await !service.events.reconcile(with: service.queue).contains(id))
    // As if the process had died between both writes.
    _ = try await service.events.setMessage(event: id, "late", by: "test")
    #expect(try await service.queue.reader.document(event: id)?.message == "")
    #expect(try await service.events.reconcile(with: service.queue).contains(id))
    #expect(try await service.queue.reader.document(event: id)?.message == "late")
    _ = try await service.events.move(event: id, to: .closed, by: "test")
    #expect(try await service.events.reconcile(with: service.queue).contains(id))
    #expect(try await service.queue.reader.document(event: id)?.state == "closed")
    #expect(try await !service.events.reconcile(with: service.queue).contains(id))
  }

  @Test("A sale that was opened and has no queue gets one; a draft and a closed sale do not")
  func creation() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(), draft = try await service.makeEvent()
    let closed = try await service.makeEvent()
    _ = try await service.events.move(event: id, to: .open, by: "test")
    _ = try await service.events.move(event: closed, to: .closed, by: "test")
    _ = try await service.events.reconcile(with: service.queue)
    #expect(try await service.queue.reader.document(event: id)?.state == "open")
    #expect(try await service.queue.reader.document(event: draft) == nil)
    #expect(try await service.queue.reader.document(event: closed) == nil)
  }

  @Test("A queue that was lost with Redis begins a new life, whose generation was never used")
  func loss() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: true)
    var used: Set<Int> = []
    for _ in 0..<4 {
      let document = try #require(try await service.queue.reader.document(event: id))
      #expect(used.insert(document.generation).inserted)
      #expect(try await settings(service, id).generation >= document.generation)
      try await lose(service, id)
      // Several workers notice at once.
      let tasks = (0..<4).map { _ in
        Task { @LoopActor in try await service.events.reconcile(with: service.queue) }
      }
      for task in tasks { _ = try await task.value }
    }
    #expect(try await !service.events.reconcile(with: service.queue).contains(id))
  }

  @Test("Settings that arrive late change nothing")
  func lateSettings() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: true)
    let old = try await service.events.setMessage(event: id, "old", by: "test")
    let new = try await service.events.setMessage(event: id, "new", by: "test")
    try await service.events.publish(new, to: service.queue)
    try await service.events.publish(old, to: service.queue)
    #expect(try await service.queue.reader.document(event: id)?.message == "new")
  }

  @Test("A draft opens at its time, once, whoever asks")
  func due() async throws {
    let service = try await Service.shared()
    let past = try await service.makeEvent(Service.event([("onsale_at", "2020-01-01T00:00:00Z")]))
    let future = try await service.makeEvent(Service.event([("onsale_at", "2035-01-01T00:00:00Z")]))
    let now = (WallClock.milliseconds, WallClock.milliseconds)
    let tasks = (0..<4).map { _ in Task { @LoopActor in try await service.events.openDue(clocks: now) } }
    var opened: [Int] = []
    for task in tasks {
      for settings in try await task.value {
        opened.append(settings.id)
        try await service.events.publish(settings, to: service.queue)
      }
    }
    #expect(opened.filter { $0 == past }.count == 1)
    #expect(!opened.contains(future))
    #expect(try await service.queue.reader.document(event: past)?.state == "open")
    #expect(try await service.events.log(event: past, limit: 1).first?.who == "schedule")
  }

  @Test("One clock of three that has stepped opens nothing, and keeps nothing closed")
  func stepped() async throws {
    let service = try await Service.shared()
    let hour = 3_600_000
    let now = WallClock.milliseconds
    let soon = Time.text(now / 1_000 + 1_800), past = Time.text(now / 1_000 - 60)
    let later = try await service.makeEvent(Service.event([("onsale_at", .string(soon))]))
    let due = try await service.makeEvent(Service.event([("onsale_at", .string(past))]))
    var opened = try await service.events.openDue(clocks: (now + hour, now)).map(\.id)
    opened += try await service.events.openDue(clocks: (now, now - hour)).map(\.id)
    #expect(opened.contains(due) && !opened.contains(later))
    #expect(try await service.events.openDue(clocks: (now + hour, now + hour)).map(\.id).contains(later))
  }

  @Test("Two at once who open, pause and change a sale leave PostgreSQL and Redis the same")
  func concurrency() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: true)
    let tasks = (0..<40).map { number in
      Task { @LoopActor in
        let settings =
          switch number % 3 {
          case 0: try await service.events.move(event: id, to: number % 2 == 0 ? .paused : .open, by: "a")
          case 1: try await service.events.setMessage(event: id, "message \(number)", by: "b")
          default: try await service.events.setRate(event: id, number, by: "c")
          }
        try await service.events.publish(settings, to: service.queue)
      }
    }
    for task in tasks { try await task.value }
    let settings = try await settings(service, id)
    let document = try #require(try await service.queue.reader.document(event: id))
    #expect(document.state == settings.state && document.message == settings.message)
    #expect(try await !service.events.reconcile(with: service.queue).contains(id))
  }
}
