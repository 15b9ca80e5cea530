import CLibUV
import Glibc

/// The time of day, as this machine has it: an operator or a time server may set it at any moment.
package enum WallClock {
  /// Milliseconds since 1970.
  package static var milliseconds: Int {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
  }
}
