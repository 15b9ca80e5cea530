import Ledger
import Queue

/// Which version of Onsale this is: `CHANGELOG.md` says what is in it.
enum Version {
  static let number = "0.1.0"

  /// With what must fit together in a mixed installation.
  static var text: String {
    "onsale \(number), schema \(Migrations.latest), functions of Redis \(QueueLibrary.version)"
  }
}
