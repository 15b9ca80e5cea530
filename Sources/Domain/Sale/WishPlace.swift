/// A place among those who wish for the same.
package struct WishPlace: Hashable, Sendable {
  /// The number of their line, unique in one life of the queue.
  package let line: Int
  /// How many came to it before and with this one. An upper bound after a line was restored.
  package let ordinal: Int

  package init(line: Int, ordinal: Int) {
    self.line = line
    self.ordinal = ordinal
  }

  /// - Parameter text: `<line>.<ordinal>`. - Returns: `nil` for anything else, and where it was not known.
  package init?(_ text: some StringProtocol) {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2, let line = Int(parts[0]), let ordinal = Int(parts[1]), line > 0, ordinal > 0
    else {
      return nil
    }
    self.init(line: line, ordinal: ordinal)
  }

  package var text: String { "\(line).\(ordinal)" }
}
