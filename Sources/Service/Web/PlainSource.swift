/// Scripts and styles as browsers need them: without the comments that say why, which would be a quarter of the first view.
enum PlainSource {
  /// Leaves out lines that are comments, or empty, and the blanks that lines begin with; nothing within a line is touched.
  ///
  /// For files written as ours are: a comment begins a line and has its lines alone, and no text goes over several lines,
  /// which a test says of every one of them.
  static func of(_ source: String) -> String {
    var plain = "", isComment = false
    for line in source.split(separator: "\n", omittingEmptySubsequences: true) {
      let text = line.drop { $0 == " " || $0 == "\t" }
      if !isComment, text.hasPrefix("/*") { isComment = true }
      if isComment {
        if text.contains("*/") { isComment = false }
        continue
      }
      if text.isEmpty || text.hasPrefix("//") { continue }
      plain += text
      plain += "\n"
    }
    return plain
  }

  /// Where a source is not written so, for a test: the numbers of lines with a comment behind code that is not left out, or
  /// code behind a comment, or a text that is open at their ends.
  static func faults(_ source: String) -> [Int] {
    var faults: [Int] = [], isComment = false
    for (index, line) in source.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let text = line.drop { $0 == " " || $0 == "\t" }
      if !isComment, text.hasPrefix("/*") { isComment = true }
      if isComment {
        guard let end = text.firstRange(of: "*/") else { continue }
        isComment = false
        if end.upperBound != text.endIndex { faults.append(index + 1) }
        continue
      }
      if text.hasPrefix("//") { continue }
      let ticks = text.replacing("\\`", with: "").count { $0 == "`" }
      if !ticks.isMultiple(of: 2) || text.contains("/*") { faults.append(index + 1) }
    }
    return faults
  }
}
