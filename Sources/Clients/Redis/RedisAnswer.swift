import EventLoop

/// Whoever waits for the answer to a command.
@LoopActor
enum RedisAnswer {
  case one(UnsafeContinuation<Result<RedisValue, RedisError>, Never>)
  /// The command at this place among several that are waited for together.
  case part(RedisBatch, Int)
  /// Called from within the connection's own work.
  case told(@LoopActor (Result<RedisValue, RedisError>) -> Void)

  /// Called once.
  func resume(returning result: Result<RedisValue, RedisError>) {
    switch self {
    case .one(let continuation): continuation.resume(returning: result)
    case .part(let batch, let index): batch.receive(result, at: index)
    case .told(let tell): tell(result)
    }
  }
}

/// Commands that one caller waits for: one continuation for all, where each of its own would be a task of its own.
@LoopActor
final class RedisBatch {
  private var values: [RedisValue]
  private var failure: RedisError?
  private var left: Int
  private let continuation: UnsafeContinuation<Result<[RedisValue], RedisError>, Never>

  init(count: Int, _ continuation: UnsafeContinuation<Result<[RedisValue], RedisError>, Never>) {
    values = Array(repeating: .null, count: count)
    left = count
    self.continuation = continuation
  }

  func receive(_ result: Result<RedisValue, RedisError>, at index: Int) {
    switch result {
    case .success(let value): values[index] = value
    case .failure(let error): failure = failure ?? error
    }
    left -= 1
    if left == 0 { continuation.resume(returning: failure.map { .failure($0) } ?? .success(values)) }
  }
}
