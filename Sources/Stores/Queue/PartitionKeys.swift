package import Sale

/// What is kept for a partition in Redis, and the channels of its news.
extension Partition {
  /// Who is alive among the workers, by the time their word runs out.
  static let workers = "{workers}"
  /// What PostgreSQL was when its purchases were last compared with the provider's books, and how far its log had come.
  static let database = "{workers}:database"
  static let databasePosition = "{workers}:database:position"
  /// Who compares them now.
  static let bookkeeper = "{workers}:bookkeeper"

  var prefix: String { "{p\(number)}:" }
  var lease: String { prefix + "lease" }
  var epoch: String { prefix + "epoch" }
  var clock: String { prefix + "clock" }
  var events: String { prefix + "events" }
  var settings: String { prefix + "settings" }
  var confirmations: String { prefix + "c" }
  var deadLetters: String { prefix + "dead" }
  var told: String { prefix + "told" }
  var toldLost: String { told + ":lost" }

  /// Channel of state changes, for notifiers.
  package var changes: String { prefix + "n" }
  /// Channel that wakes the owner of the partition.
  package var wakes: String { prefix + "w" }
  /// Channel that wakes the confirmation stream of every worker.
  package var confirmWakes: String { prefix + "k" }

  /// The partition a channel belongs to.
  package init?(channel: String) {
    guard channel.hasPrefix("{p"), let end = channel.firstIndex(of: "}"),
      let number = Int(channel[channel.index(channel.startIndex, offsetBy: 2)..<end])
    else { return nil }
    self.init(number: number)
  }
}

/// The keys of one event.
struct EventKeys {
  let prefix: String
  init(_ event: Int) { prefix = Partition(of: event).prefix + "\(event):" }

  var meta: String { prefix + "m" }
  var queue: String { prefix + "q" }
  var bitmap: String { prefix + "b" }
  var away: String { prefix + "away" }
  var marks: String { prefix + "km" }
  var wishes: String { prefix + "kn" }
  var alone: String { prefix + "y" }
  func line(_ number: Int) -> String { prefix + "q:\(number)" }
  var sold: String { prefix + "o" }
  var holds: String { prefix + "x" }
  var restored: String { prefix + "w" }
  var shown: String { prefix + "h" }
  var late: String { prefix + "late" }
  func user(_ key: String) -> String { prefix + "u:" + key.prefix(2) }
  func refresh(_ place: String) -> String { prefix + "s:" + place }

  func record(_ position: Int) -> (key: String, field: String) {
    (prefix + "r:\(position / 100)", "\(position % 100)")
  }
}
