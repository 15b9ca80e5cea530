/// What Redis remembers of a user of an event.
package struct RememberedUser: Sendable {
  /// See `UserKey`.
  package let key: String
  /// Their request in line or with a hold; 0 for none.
  package let live: Int
  /// The line in which that waits, or waited; `nil` where it is not known.
  package let line: Int?
  package let ticketsOwned: Int

  /// Lines below this are packed into one number with the place.
  static let packedLines = 256

  /// Reads what the functions write (`put_user`); `nil` if that is no entry of theirs.
  init?(key: String, entry: String) {
    self.key = key
    if entry.hasPrefix("-") {
      guard let packed = Int(entry.dropFirst()) else { return nil }
      live = packed / Self.packedLines
      line = packed % Self.packedLines
      ticketsOwned = 0
      return
    }
    let parts = entry.split(separator: ":", omittingEmptySubsequences: false)
    let place = parts[0].split(separator: ".")
    guard let live = place.first.flatMap({ Int($0) }) else { return nil }
    self.live = live
    line = place.count == 2 ? Int(place[1]) : nil
    ticketsOwned = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
  }
}
