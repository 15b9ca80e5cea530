import CLibUV

/// Tells when a file descriptor owned by a C library is readable or writable.
///
/// The watcher never closes the descriptor. Stop watching before the library closes it.
@LoopActor
package final class DescriptorWatcher {
  package struct Events: OptionSet, Sendable {
    package let rawValue: Int32
    package init(rawValue: Int32) { self.rawValue = rawValue }
    package static let readable = Events(rawValue: Int32(UV_READABLE.rawValue))
    package static let writable = Events(rawValue: Int32(UV_WRITABLE.rawValue))
  }

  private let handle: UnsafeMutablePointer<uv_poll_t>
  private let onReady: @LoopActor (Events) -> Void
  private var watched: Events = []
  private var isOpen = true

  /// - Parameter onReady: called on the loop. An error on the descriptor is reported as both readable and
  ///   writable, so that the library's next call on it finds the error. Capture the owner weakly.
  package init(descriptor: Int32, onReady: @escaping @LoopActor (Events) -> Void) {
    self.onReady = onReady
    handle = .allocate(capacity: 1)
    let status = uv_poll_init(EventLoop.shared.handle, handle, descriptor)
    precondition(status == 0, "a descriptor can be watched once, and must be one that epoll accepts")
    handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
  }

  /// Watches for `events`; an empty set pauses. Cheap when nothing changes.
  package func watch(_ events: Events) {
    guard isOpen, events != watched else { return }
    watched = events
    if events.isEmpty {
      uv_poll_stop(handle)
      return
    }
    uv_poll_start(handle, events.rawValue) { handle, status, events in
      guard let data = handle?.pointee.data else { return }
      EventLoop.shared.beginTurn()
      LoopActor.assumeIsolated {
        // Retained for the call: the callback may drop the last reference to the watcher.
        let watcher = Unmanaged<DescriptorWatcher>.fromOpaque(data).takeUnretainedValue()
        watcher.onReady(status < 0 ? [.readable, .writable] : Events(rawValue: events))
      }
    }
  }

  /// Stops for good. Nothing is reported afterwards.
  package func close() {
    guard isOpen else { return }
    isOpen = false
    uv_poll_stop(handle)
    handle.pointee.data = nil
    closeHandle(handle)
  }

  isolated deinit { close() }
}
