import Foundation

/// How many files, and so connections, this process may have open.
package enum OpenFiles {
  /// How many connections there may be where `wanted` are: what is left beside `reserved` files if that is less, but 16.
  ///
  /// Raises the limit as far as it goes.
  package static func connections(wanted: Int, reserved: Int) -> Int {
    min(wanted, max(16, raiseLimit() - reserved))
  }

  /// Raises the soft limit to the hard one, which an administrator sets: every descriptor here is waited for by epoll,
  /// which does not mind large numbers, as `select` would.
  ///
  /// - Returns: how many may be open from here on.
  private static func raiseLimit() -> Int {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    // Without a limit it is the largest number there is.
    return Int(min(limit.rlim_cur, 1 << 20))
  }
}
