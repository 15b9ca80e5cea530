import Foundation

/// How many files, and so connections, this process may have open.
package enum OpenFiles {
  /// Raises the soft limit to the hard one, which an administrator sets: every descriptor here is waited for by epoll,
  /// which does not mind large numbers, as `select` would.
  ///
  /// - Returns: how many may be open from here on.
  @discardableResult
  package static func raiseLimit() -> Int {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    // Without a limit it is the largest number there is.
    return Int(min(limit.rlim_cur, 1 << 20))
  }
}
