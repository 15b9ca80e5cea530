import CCurl
import EventLoop
import Foundation

/// A socket of libcurl's, watched on the loop.
@LoopActor
final class Socket {
  let watcher: DescriptorWatcher
  /// What libcurl wants to hear of; nothing while the connection is idle.
  var wanted: DescriptorWatcher.Events = []
  /// Whether `closeSocket` tells when it is closed. Sockets that libcurl opens by itself, to hear from its
  /// resolver, are closed without notice and must not be watched a moment longer than it asks for.
  let isConnection: Bool

  init(_ watcher: DescriptorWatcher, isConnection: Bool) {
    self.watcher = watcher
    self.isConnection = isConnection
  }
}

extension HTTPClient {
  /// libcurl wants to hear when a socket of its is ready, or no longer.
  func watch(_ descriptor: Int32, _ events: DescriptorWatcher.Events) {
    let socket = sockets[descriptor] ?? add(descriptor, isConnection: false)
    socket.wanted = events
    socket.watcher.watch(events)
  }

  /// libcurl has no use for a socket now.
  ///
  /// A connection that goes idle stays watched: mostly the next request wants the same events again, and the
  /// detour through epoll costs more than the odd event that nobody waits for.
  func unwatch(_ descriptor: Int32) {
    guard let socket = sockets[descriptor] else { return }
    if socket.isConnection { socket.wanted = [] } else { forget(descriptor) }
  }

  /// Whether a connection to the address may be made.
  func connects(to address: NetworkAddress?) -> Bool {
    guard let isAllowed = configuration.connectsTo else { return true }
    return address.map(isAllowed) ?? false
  }

  /// A socket for a connection was made.
  func opened(_ descriptor: Int32) {
    forget(descriptor)
    _ = add(descriptor, isConnection: true)
  }

  private func add(_ descriptor: Int32, isConnection: Bool) -> Socket {
    let watcher = DescriptorWatcher(descriptor: descriptor) { [weak self] events in
      self?.ready(descriptor, events)
    }
    let socket = Socket(watcher, isConnection: isConnection)
    sockets[descriptor] = socket
    return socket
  }

  /// The descriptor is about to be closed.
  func forget(_ descriptor: Int32) {
    sockets.removeValue(forKey: descriptor)?.watcher.close()
  }

  private func ready(_ descriptor: Int32, _ events: DescriptorWatcher.Events) {
    guard let socket = sockets[descriptor] else { return }
    if socket.wanted.isEmpty {
      // An idle connection was closed by the server, which libcurl finds out when it wants to use it.
      socket.watcher.watch([])
      return
    }
    let flags =
      (events.contains(.readable) ? CURL_CSELECT_IN : 0)
      | (events.contains(.writable) ? CURL_CSELECT_OUT : 0)
    drive(descriptor, flags)
  }

  /// Lets libcurl act, and hands out the results.
  private func drive(_ descriptor: Int32, _ flags: Int32) {
    guard multi != nil else { return }
    var running: Int32 = 0
    curl_multi_socket_action(multi, descriptor, flags, &running)
    var left: Int32 = 0
    var result = CURLE_OK
    while let multi, let message = curl_multi_info_read(multi, &left) {
      // The message dies with its handle, so both are taken before.
      guard let easy = curl_message_done(message, &result), let known = curl_private(easy) else { continue }
      finished(Unmanaged<Transfer>.fromOpaque(known).takeUnretainedValue(), result)
    }
  }

  /// libcurl wants to act after a time: at once mostly, when a transfer was added.
  func setTimer(milliseconds: Int) {
    switch milliseconds {
    case ..<0: timer.cancel()
    case 0: driveSoon()
    default:
      timer.schedule(afterMilliseconds: UInt64(milliseconds)) { [weak self] in
        self?.drive(CURL_SOCKET_TIMEOUT, 0)
      }
    }
  }

  /// Once at the end of this turn of the loop, for all transfers that it adds.
  private func driveSoon() {
    guard !driveIsScheduled else { return }
    driveIsScheduled = true
    // Owned by this object: `driveIsScheduled` allows one at a time, and it ends by itself.
    Task { @LoopActor [weak self] in
      self?.driveIsScheduled = false
      self?.drive(CURL_SOCKET_TIMEOUT, 0)
    }
  }
}

let socketWanted: curl_socket_callback = { _, descriptor, what, client, _ in
  guard let client else { return 0 }
  // Called on the loop, by libcurl; nothing here leaves it.
  nonisolated(unsafe) let context = client
  LoopActor.assumeIsolated {
    let client = Unmanaged<HTTPClient>.fromOpaque(context).takeUnretainedValue()
    switch what {
    case CURL_POLL_IN: client.watch(descriptor, .readable)
    case CURL_POLL_OUT: client.watch(descriptor, .writable)
    case CURL_POLL_INOUT: client.watch(descriptor, [.readable, .writable])
    default: client.unwatch(descriptor)
    }
  }
  return 0
}

let timerWanted: curl_multi_timer_callback = { _, milliseconds, client in
  guard let client else { return 0 }
  nonisolated(unsafe) let context = client
  LoopActor.assumeIsolated {
    Unmanaged<HTTPClient>.fromOpaque(context).takeUnretainedValue().setTimer(milliseconds: milliseconds)
  }
  return 0
}

let openSocket: curl_opensocket_callback = { client, _, address in
  guard let client, let address else { return CURL_SOCKET_BAD }
  // Called on the loop, by libcurl; nothing here leaves it.
  nonisolated(unsafe) let context = client
  // In its place: an address of IPv6 is longer than the member says.
  let offset = MemoryLayout<curl_sockaddr>.offset(of: \.addr) ?? 0
  let peer = NetworkAddress(
    UnsafeRawPointer(address).advanced(by: offset).assumingMemoryBound(to: sockaddr.self))
  let isAllowed = LoopActor.assumeIsolated {
    Unmanaged<HTTPClient>.fromOpaque(context).takeUnretainedValue().connects(to: peer)
  }
  guard isAllowed else { return CURL_SOCKET_BAD }
  let kind = address.pointee.socktype | Int32(SOCK_CLOEXEC.rawValue)
  let descriptor = socket(address.pointee.family, kind, address.pointee.protocol)
  guard descriptor >= 0 else { return CURL_SOCKET_BAD }
  LoopActor.assumeIsolated {
    Unmanaged<HTTPClient>.fromOpaque(context).takeUnretainedValue().opened(descriptor)
  }
  return descriptor
}

let closeSocket: curl_closesocket_callback = { client, descriptor in
  if let client {
    nonisolated(unsafe) let context = client
    LoopActor.assumeIsolated {
      Unmanaged<HTTPClient>.fromOpaque(context).takeUnretainedValue().forget(descriptor)
    }
  }
  return close(descriptor)
}
