package import EventLoop

/// How a handler answers.
package enum HTTPAnswer: Sendable {
  /// At once, inside the server's callback: the fast path, for what memory can answer.
  case now(HTTPResponse)
  /// By whoever has it then, without a task of its own: the fast path for what waits for a store.
  case held(any HeldRequest)
  /// By a task of its own on the loop. The task is not cancelled when the client goes away, only when the
  /// server's stop deadline passes; it must end by itself in bounded time.
  case later(@LoopActor () async -> HTTPResponse)
}

/// A request that waits for its answer, with whatever there is to do for it.
@LoopActor
package protocol HeldRequest: AnyObject, Sendable {
  /// Begins with it, once, as soon as the server's limits let it.
  /// - Parameter reply: is to be told the answer, once, in bounded time; also where the client is gone by then.
  func begin(_ reply: HTTPReply)
}

/// Where the answer of a request goes that waits for it.
@LoopActor
package struct HTTPReply: Sendable {
  /// `nil` for a request without a connection.
  let server: HTTPServer?
  let exchange: Exchange

  /// Answers the request: called once.
  package func send(_ response: HTTPResponse) {
    if let server {
      server.answered(exchange, response)
    } else {
      exchange.answer = response
      exchange.reader?.resume()
      exchange.reader = nil
    }
  }

  /// Answers by a task of its own, which runs at once up to where it first waits. It is cancelled when the server's stop
  /// deadline passes, and its answer is nobody's when the client is gone.
  package func send(_ body: @escaping @LoopActor () async -> HTTPResponse) {
    let exchange = exchange
    let task = Task.immediate { @LoopActor in send(await body()) }
    if exchange.answer == nil, exchange.peer != nil { exchange.task = task }
  }
}

extension HTTPAnswer {
  /// What was not answered at once.
  @LoopActor
  func begin(_ reply: HTTPReply) {
    switch self {
    case .now(let response): reply.send(response)
    case .held(let request): request.begin(reply)
    case .later(let body): reply.send(body)
    }
  }
}

/// What to answer in place of a refusal; `nil` for the refusal itself.
package typealias RefusalHandler = @LoopActor (HTTPRequest, HTTPResponse) -> HTTPResponse?

/// Answers one request. Called on the loop once the whole request is there; must not block.
package typealias HTTPHandler = @LoopActor (HTTPRequest) -> HTTPAnswer
