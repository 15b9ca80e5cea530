package import Sale

/// Where one line stands, if it ever kept anybody waiting: written together with what it is about, so that it is never
/// behind it.
package struct LineMark: Sendable, Equatable {
  /// An end of the line for everyone in it at that time: there is no record of them.
  package struct End: Sendable, Equatable {
    /// The places behind this one, up to `through`.
    package let after: Int
    package let through: Int
    /// Until when the place may be kept by an answer; milliseconds since 1970 on Redis's clock.
    package let answerUntil: Int
    package let refusal: Refusal
  }

  /// That of the document which it was written with.
  package let version: Int
  /// The last one served, while somebody behind waits whom the head has passed.
  package let served: LinePlace?
  /// In order.
  package let ends: [End]

  /// Reads `<version>:<position>:<ordinal>:<after>/<through>/<answer until>/<left>/<reason>+…`; position and ordinal are
  /// empty where nobody waits.
  package init?(_ text: String) {
    let parts = text.split(separator: ":", maxSplits: 3, omittingEmptySubsequences: false)
    guard parts.count == 4, let version = Int(parts[0]) else { return nil }
    self.version = version
    if let position = Int(parts[1]), let ordinal = Int(parts[2]) {
      served = LinePlace(position: position, ordinal: ordinal)
    } else {
      served = nil
    }
    ends = parts[3].split(separator: "+").compactMap { end in
      let parts = end.split(separator: "/")
      guard parts.count == 5, let after = Int(parts[0]), let through = Int(parts[1]),
        let until = Int(parts[2]), let left = Int(parts[3])
      else { return nil }
      let reason = String(parts[4])
      return End(
        after: after, through: through, answerUntil: until,
        refusal: Refusal(reason: reason, left: reason == Refusal.onlyLeft(0).reason ? left : nil))
    }
  }

  /// How the line ended for a place that has no record.
  package func end(of position: Int) -> End? { ends.first { position <= $0.through } }

  /// How the line ended for a place, whether or not it has a record that nobody has looked at: only if it can have none.
  package func certainEnd(of position: Int) -> End? {
    ends.first { position > $0.after && position <= $0.through }
  }
}
