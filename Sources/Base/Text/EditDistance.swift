/// How far one word is from another.
package enum EditDistance {
  /// The fewest insertions, deletions, replacements and swaps of neighbours that turn `typed` into `word`, or,
  /// for a prefix, into any beginning of `word`.
  package static func between(_ typed: String, _ word: String, isPrefix: Bool = false) -> Int {
    let a = Array(typed.unicodeScalars)
    let b = Array(word.unicodeScalars)
    var beforeLast = [Int](repeating: 0, count: b.count + 1)
    var last = Array(0...b.count)
    var current = last
    for i in 1..<a.count + 1 {
      current[0] = i
      for j in 1..<b.count + 1 {
        var best = min(last[j] + 1, current[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
        if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
          best = min(best, beforeLast[j - 2] + 1)
        }
        current[j] = best
      }
      (beforeLast, last, current) = (last, current, beforeLast)
    }
    return isPrefix ? last.min() ?? a.count : last[b.count]
  }
}
