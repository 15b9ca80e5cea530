import EventLoop

/// `onsale rush`: plays many buyers against a running system and checks what they were told.
package enum RushCommand {
  /// - Returns: the exit code: 0 when every promise held, 1 when one did not, 2 when it could not run.
  @LoopActor
  package static func run(arguments: [String], environment: [String: String]) async -> Int32 {
    2
  }
}
