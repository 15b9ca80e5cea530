/// A request that ended without a purchase.
package enum RequestEnd: Sendable, Equatable {
  case one(position: Int, state: RequestRecord.State)
  /// Everybody, up to this place, was told that everything is sold.
  case all(upTo: Int)
  /// All those of one wish, whose line has this number, behind one place and up to another.
  case line(Int, after: Int, upTo: Int, reason: String, left: Int)

  /// - Parameter text: the letter of its record and its position; `*` and a position; or `=`, the number of a line, and an
  ///   end of it as in its mark (`LineMark`).
  init?(_ text: String) {
    if text.first == "=" {
      let parts = text.dropFirst().split(separator: "/")
      guard parts.count == 6, let line = Int(parts[0]), let after = Int(parts[1]), let upTo = Int(parts[2]),
        let left = Int(parts[4])
      else { return nil }
      self = .line(line, after: after, upTo: upTo, reason: String(parts[5]), left: left)
      return
    }
    guard let letter = text.first, let position = Int(text.dropFirst()), position > 0 else { return nil }
    if letter == "*" {
      self = .all(upTo: position)
    } else if let state = RequestRecord.State(rawValue: letter) {
      self = .one(position: position, state: state)
    } else {
      return nil
    }
  }
}
