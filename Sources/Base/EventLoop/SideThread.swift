/// Too much waits for the side thread already; nothing was done with this.
package struct SideThreadFull: Error {
  package init() {}
}

/// One thread beside the loop, for what takes longer than a turn of the loop may and waits for nobody: a large upload that
/// is read, say. One thing at a time, in order, so that never more than one more core is busy with it.
@LoopActor
package final class SideThread {
  package static let shared = SideThread()

  private static let capacity = 64

  private let thread = SerialThread(name: "side")
  private var waiting = 0

  /// - Throws: `SideThreadFull` at once, or what `work` throws.
  package func run<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
    guard waiting < Self.capacity else { throw SideThreadFull() }
    waiting += 1
    defer { waiting -= 1 }
    return try await withUnsafeContinuation { continuation in
      thread.submit {
        let result: Result<Value, any Error> = Result { try work() }
        continuation.resume(returning: result)
      }
    }.get()
  }
}
