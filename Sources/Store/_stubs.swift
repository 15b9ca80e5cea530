package import EventLoop
package import Postgres
@LoopActor package final class ArchiveStore {
  package init(_ postgres: PostgresClient) {}
  package func outcome(event: Int, generation: Int) async throws -> QueueDocument? { nil }
  package func record(event: Int, generation: Int, position: Int) async throws -> RequestRecord? { nil }
}
@LoopActor package final class QueueArchive {
  package init() {}
  package func run(event: Int, epoch: Int) async throws -> Bool { false }
}
@LoopActor package final class EventStore {
  package init() {}
  package func openDue() async throws -> [EventSettings] { [] }
  package func reconcile(with queue: QueueStore) async throws -> [Int] { [] }
  package func settings(event: Int) async throws -> EventSettings? { nil }
}
