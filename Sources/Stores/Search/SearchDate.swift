import Sale

/// Dates as words: what is indexed of an event's date, and what a query means by "7 December" or "2031-12-07".
enum SearchDate {
  private static let months = [
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december",
  ]

  private static let monthNumbers: [String: Int] = {
    var numbers: [String: Int] = ["sept": 9]
    for (index, name) in months.enumerated() {
      numbers[name] = index + 1
      numbers[String(name.prefix(3))] = index + 1
    }
    return numbers
  }()

  /// Behind these a number is not a day: "symphony 5 march 2031".
  private static let numbered: Set<String> = [
    "symphony", "concerto", "sonata", "quartet", "quintet", "trio", "suite", "act", "no", "nr", "op", "opus",
    "k", "kv", "bwv", "d", "hob",
  ]

  /// Words of a date: its day, its month, its year.
  ///
  /// - Parameter wallClock: what the venue's clock shows, in seconds since 1970 as if it were UTC.
  static func words(_ wallClock: Int) -> [String] {
    let date = CivilDate(unixSeconds: wallClock)
    return [dayWord(date.month, date.day), months[date.month - 1], String(date.year)]
  }

  /// The day and month in one word, which nobody types and no spelling is near.
  private static func dayWord(_ month: Int, _ date: Int) -> String {
    "d" + (month < 10 ? "0" : "") + String(month) + (date < 10 ? "0" : "") + String(date)
  }

  /// A query's words as terms, with dates in place of the words that make them up.
  static func terms(_ words: [String]) -> [SearchTerm] {
    var terms: [SearchTerm] = []
    var index = 0
    while index < words.count {
      let (found, length) = date(words, index)
      terms += found
      index += length
    }
    return terms
  }

  /// The terms that begin at `index`, and how many words they take.
  private static func date(_ words: [String], _ index: Int) -> ([SearchTerm], Int) {
    let word = words[index]
    func next(_ offset: Int) -> String? { index + offset < words.count ? words[index + offset] : nil }
    func term(_ typed: String, _ word: String) -> SearchTerm {
      var term = SearchTerm(typed)
      term.alternatives = [word]
      return term
    }
    // 2031-12-07
    if year(word) != nil, let second = next(1), let third = next(2), second.count == 2, third.count == 2,
      let month = Int(second), (1...12).contains(month), let date = dayOfMonth(third)
    {
      return ([term("\(second) \(third)", dayWord(month, date)), SearchTerm(word)], 3)
    }
    // December 7, and December 2031
    if let month = monthNumbers[word], let second = next(1) {
      if let date = dayOfMonth(second) { return ([term("\(word) \(second)", dayWord(month, date))], 2) }
      if year(second) != nil { return ([term(word, months[month - 1]), SearchTerm(second)], 2) }
    }
    // 7 December
    let isNumbered = index > 0 && numbered.contains(words[index - 1])
    if !isNumbered, let date = dayOfMonth(word), let second = next(1), let month = monthNumbers[second] {
      return ([term("\(word) \(second)", dayWord(month, date))], 2)
    }
    return ([SearchTerm(word)], 1)
  }

  private static func year(_ word: String) -> Int? {
    word.utf8.count == 4 ? Int(word).flatMap { (1_800...2_199).contains($0) ? $0 : nil } : nil
  }

  /// `7`, `07` or `7th`.
  private static func dayOfMonth(_ word: String) -> Int? {
    var digits = Substring(word)
    for ending in ["st", "nd", "rd", "th"] where digits.hasSuffix(ending) { digits = digits.dropLast(2) }
    guard (1...2).contains(digits.utf8.count), let day = Int(digits), (1...31).contains(day) else {
      return nil
    }
    return day
  }
}
