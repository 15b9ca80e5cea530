import Text

/// The name that somebody meant who wrote another one.
enum NearestName {
  /// One of `known` that is a slip or two away: letters left out, doubled, exchanged or wrong, small or capital, with
  /// underscores or without. Of several the first in the alphabet.
  /// - Returns: `nil` where none is so close that a person would take it for the same word.
  static func of(_ name: String, in known: Set<String>) -> String? {
    let written = letters(name)
    var nearest: (name: String, slips: Int)?
    for candidate in known.sorted() {
      let meant = letters(candidate)
      let allowed = max(1, meant.utf8.count / 3)
      // Whatever is much longer is not compared: names come from strangers.
      guard abs(meant.utf8.count - written.utf8.count) <= allowed else { continue }
      let slips = EditDistance.between(written, meant)
      if slips <= allowed, slips < nearest?.slips ?? .max { nearest = (candidate, slips) }
    }
    return nearest?.name
  }

  private static func letters(_ name: String) -> String {
    name.lowercased().filter { $0 != "_" && $0 != "-" }
  }
}
