import EventLoop
package import HTTPServer

/// Answers by a task; whatever `body` throws becomes a problem.
@LoopActor
package func answer(_ body: @escaping @LoopActor () async throws -> HTTPResponse) -> HTTPAnswer {
  .later {
    do { return try await body() } catch { return problem(for: error).response }
  }
}

/// Answers at once where `body` can; whatever it throws becomes a problem, without a task.
@LoopActor
package func checked(_ body: @LoopActor () throws -> HTTPAnswer) -> HTTPAnswer {
  do { return try body() } catch { return .now(problem(for: error).response) }
}
