import CLibUV

/// Delivers a POSIX signal to the loop instead of ending the process.
@LoopActor
package final class SignalWatcher {
  private let handle: UnsafeMutablePointer<uv_signal_t>
  private let action: @LoopActor () -> Void

  package init(_ signal: Int32, _ action: @escaping @LoopActor () -> Void) {
    self.action = action
    handle = .allocate(capacity: 1)
    uv_signal_init(EventLoop.shared.handle, handle)
    handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    uv_signal_start(
      handle,
      { handle, _ in
        guard let data = handle?.pointee.data else { return }
        LoopActor.assumeIsolated {
          Unmanaged<SignalWatcher>.fromOpaque(data).takeUnretainedValue().action()
        }
      }, signal)
  }

  isolated deinit {
    uv_signal_stop(handle)
    handle.pointee.data = nil
    closeHandle(handle)
  }
}
