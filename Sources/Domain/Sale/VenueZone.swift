import Foundation

/// The clocks where an event takes place: a zone of the IANA database, with its rules for daylight saving.
///
/// The rules are those of the database that comes with the Swift toolchain, and so in the binary.
package struct VenueZone: Hashable, Sendable {
  /// As IANA has it, such as `America/New_York`.
  package let name: String
  private let rules: TimeZone

  package static let utc = VenueZone(name: "UTC", rules: .gmt)

  private init(name: String, rules: TimeZone) {
    self.name = name
    self.rules = rules
  }

  /// - Parameter name: in the database's own spelling. `nil` for what it does not have, and for abbreviations such as
  ///   `EST` or `GMT+5`, which mean different things in different places.
  package init?(_ name: String) {
    if name == Self.utc.name {
      self = .utc
      return
    }
    guard name.contains("/"), name.utf8.count <= Limits.timeZoneBytes, let rules = TimeZone(identifier: name)
    else {
      return nil
    }
    self.init(name: name, rules: rules)
  }

  /// How far the clocks are before UTC at a moment, in seconds. Whole minutes, which is all that RFC 3339 can say: zones
  /// had others before there were zones.
  /// - Parameter seconds: since 1970.
  package func offset(at seconds: Int) -> Int {
    let exact = rules.secondsFromGMT(for: Date(timeIntervalSince1970: Double(seconds)))
    return (exact >= 0 ? exact / 60 : -((59 - exact) / 60)) * 60
  }

  /// What the clocks show at a moment, counted as if it were UTC.
  package func wallClock(at seconds: Int) -> Int { seconds + offset(at: seconds) }

  /// The moments at which the clocks show this: two where they are put back over it, none where they are put forward.
  /// - Parameter wallClock: as `wallClock(at:)` has it.
  package func moments(of wallClock: Int) -> [Int] {
    // Clocks are not changed twice within two days.
    let offsets = Set([-86_400, 86_400].map { offset(at: wallClock + $0) })
    return offsets.map { wallClock - $0 }.filter { self.wallClock(at: $0) == wallClock }.sorted()
  }
}
