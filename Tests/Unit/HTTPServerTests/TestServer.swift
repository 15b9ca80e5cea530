import EventLoop
import HTTPServer
import JSON
import Logging

/// A server with routes to test against, on a free port.
@LoopActor
final class TestServer {
  let server: HTTPServer
  /// Answers of `/wait` under way, ended by `release`.
  private(set) var waiting: [UnsafeContinuation<Void, Never>] = []
  private(set) var waited = 0
  /// Answers of `/held` that are owed, given by `release`.
  private var held: [HTTPReply] = []
  var waitingCount: Int { waiting.count + held.count }
  /// Answers of `/sleep` that were begun, and those that were cancelled.
  private(set) var sleeping = 0
  private(set) var cancelled = 0
  /// Called when the server cancels an answer of `/sleep` that is begun from now on.
  var onCancel: @Sendable () -> Void = {}

  var port: UInt16 { server.port }

  private init(_ configuration: HTTPServerConfiguration, _ router: Router) {
    server = HTTPServer(configuration, router: router, logger: Logger(label: "test"))
  }

  static func with<R: Sendable>(
    _ change: (inout HTTPServerConfiguration) -> Void = { _ in }, onRefusal: RefusalHandler? = nil,
    _ body: @LoopActor (TestServer) async throws -> R
  ) async throws -> R {
    var configuration = HTTPServerConfiguration(port: 0)
    configuration.connectionLimit = 5_000
    change(&configuration)
    // The routes need the server's own state, and the server needs the routes first.
    let holder = Holder()
    var router = routes { holder.test }
    router.onRefusal = onRefusal
    let made = TestServer(configuration, router)
    holder.test = made
    defer { holder.test = nil }
    try await made.server.start()
    do {
      let result = try await body(made)
      made.release()
      await made.server.stop()
      return result
    } catch {
      made.release()
      await made.server.stop()
      throw error
    }
  }

  @LoopActor
  private final class Holder {
    weak var test: TestServer?
  }

  static func routes(_ test: @escaping @LoopActor () -> TestServer? = { nil }) -> Router {
    var router = Router()
    router.on(.get, "/") { _ in .now(.text(200, "root")) }
    router.on(.get, "/api/now") { _ in .now(.json(200, ["ok": true])) }
    router.on(.get, "/page", ignoresQuery: true) { _ in .now(.text(200, "page")) }
    router.on(.get, "/now") { _ in .now(.json(200, ["ok": true])) }
    router.on(.get, "/at-once") { _ in .later { .text(200, "at once") } }
    router.on(.get, "/yield") { _ in
      .later {
        await Task.yield()
        return .text(200, "yielded")
      }
    }
    router.on(.post, "/echo", maximumBody: 100_000) { request in
      .now(HTTPResponse(status: 200, body: request.body))
    }
    router.on(.post, "/echo-later", maximumBody: 100_000) { request in
      .later {
        await Task.yield()
        return .text(200, "\(request.header("X-Name") ?? "-") \(request.body.count)")
      }
    }
    router.on(.get, "/item/{id}/part/{part}") { request in
      .now(
        .text(
          200,
          "\(request.parameters["id"] ?? "-")|\(request.parameters["part"] ?? "-")|\(request.query("q") ?? "-")"
        ))
    }
    router.on(.get, "/item/special") { _ in .now(.text(200, "special")) }
    router.on(.get, "/item/{id}") { request in .now(.text(200, "item \(request.parameters["id"] ?? "-")")) }
    router.on(.get, "/address") { request in .now(.text(200, request.clientAddress)) }
    router.on(.get, "/large") { _ in
      .now(HTTPResponse(status: 200, body: [UInt8](repeating: 0x61, count: 3_000_000)))
    }
    // More than the kernel's buffers of a connection take.
    let shared = [UInt8](repeating: 0x62, count: 20_000_000)
    router.on(.get, "/shared") { _ in .now(HTTPResponse(status: 200, body: shared)) }
    router.on(
      .post, "/upload", maximumBody: 10_000_000,
      refuse: { request in
        request.header("X-Pass") == nil ? .problem(401, code: "no_pass", detail: "A pass is needed.") : nil
      },
      { request in .now(.text(200, "\(request.body.count)")) })
    router.on(.get, "/own-policy") { _ in
      .now(.text(200, "page", headers: [("Content-Security-Policy", "default-src 'self'")]))
    }
    router.on(.get, "/hang-up") { _ in .now(.hangUp) }
    router.on(.get, "/wait") { _ in
      .later {
        guard let test = test() else { return .text(500, "no test") }
        await test.wait()
        return .text(200, "waited")
      }
    }
    router.on(.get, "/held") { _ in .held(Held(test())) }
    router.on(.get, "/held-at-once") { _ in .held(Held(nil)) }
    router.on(.get, "/sleep") { _ in
      .later {
        await test()?.sleepLong()
        return .text(200, "slept")
      }
    }
    return router
  }

  @LoopActor
  private final class Held: HeldRequest {
    let test: TestServer?
    init(_ test: TestServer?) { self.test = test }

    func begin(_ reply: HTTPReply) {
      if let test { test.held.append(reply) } else { reply.send(.text(200, "at once")) }
    }
  }

  private func wait() async {
    await withUnsafeContinuation { waiting.append($0) }
    waited += 1
  }

  private func sleepLong() async {
    sleeping += 1
    let onCancel = onCancel
    await withTaskCancellationHandler {
      do { try await sleep(milliseconds: 60_000) } catch { cancelled += 1 }
    } onCancel: {
      onCancel()
    }
  }

  /// Ends all answers of `/wait` under way.
  func release() {
    for continuation in waiting { continuation.resume() }
    waiting = []
    let replies = held
    held = []
    waited += replies.count
    for reply in replies { reply.send(.text(200, "waited")) }
  }
}

/// Waits until a condition on the loop holds, for at most 20 s.
@LoopActor
func eventually(_ condition: @LoopActor () -> Bool) async -> Bool {
  for _ in 0..<4000 {
    if condition() { return true }
    try? await sleep(milliseconds: 5)
  }
  return condition()
}
