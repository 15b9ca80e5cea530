import EventLoop

/// How a handler answers.
package enum HTTPAnswer: Sendable {
  /// At once, inside the server's callback: the fast path, for what memory can answer.
  case now(HTTPResponse)
  /// By a task of its own on the loop. The task is not cancelled when the client goes away, only when the
  /// server's stop deadline passes; it must end by itself in bounded time.
  case later(@LoopActor () async -> HTTPResponse)
}

/// What to answer in place of a refusal; `nil` for the refusal itself.
package typealias RefusalHandler = @LoopActor (HTTPRequest, HTTPResponse) -> HTTPResponse?

/// Answers one request. Called on the loop once the whole request is there; must not block.
package typealias HTTPHandler = @LoopActor (HTTPRequest) -> HTTPAnswer
