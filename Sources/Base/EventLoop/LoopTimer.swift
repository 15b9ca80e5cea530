import CLibUV

/// A timer on the loop. Fires on the loop's thread, and never after `cancel()`. One that is released elsewhere may
/// still fire until the loop gets to letting go of it, so actions capture their owner weakly.
@LoopActor
package final class LoopTimer {
  private let handle: UnsafeMutablePointer<uv_timer_t>
  private var action: (@LoopActor () -> Void)?

  package init() {
    handle = .allocate(capacity: 1)
    uv_timer_init(EventLoop.shared.handle, handle)
    handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
  }

  /// Fires `action` after `delay` milliseconds, then every `interval` milliseconds if that is not zero.
  /// A timer that was already scheduled is scheduled anew.
  package func schedule(
    afterMilliseconds delay: UInt64, every interval: UInt64 = 0, _ action: @escaping @LoopActor () -> Void
  ) {
    self.action = action
    // libuv measures from the iteration's cached time, which may be old after long work.
    uv_update_time(EventLoop.shared.handle)
    uv_timer_start(
      handle,
      { handle in
        guard let data = handle?.pointee.data else { return }
        LoopActor.assumeIsolated {
          let timer = Unmanaged<LoopTimer>.fromOpaque(data).takeUnretainedValue()
          let action = timer.action
          if uv_timer_get_repeat(timer.handle) == 0 { timer.action = nil }
          action?()
        }
      }, delay, interval)
  }

  package func cancel() {
    uv_timer_stop(handle)
    action = nil
  }

  isolated deinit {
    uv_timer_stop(handle)
    handle.pointee.data = nil
    closeHandle(handle)
  }
}

/// Closes a libuv handle and frees its memory once libuv has let go of it. Loop thread only.
@LoopActor
func closeHandle<Handle>(_ handle: UnsafeMutablePointer<Handle>) {
  handle.withMemoryRebound(to: uv_handle_t.self, capacity: 1) { handle in
    uv_close(handle) { handle in
      UnsafeMutableRawPointer(handle)?.deallocate()
    }
  }
}
