import HTTPCommon
import Sale
import Store
import Text

/// Tickets as a table: `section,row,seat,price` with a line for each seat, or `section,capacity,price` with a line for
/// each section.
///
/// The first line names the columns, in any order; others are ignored. Better seats come first, and seats of a row whose
/// lines follow each other sit side by side, unless a number is left out. Prices are in minor units; a column
/// `price_major` has them in main units, with a point or a comma. Everything that is wrong is told at once, and then
/// nothing is taken.
struct SeatTable {
  private static let problemsTold = 50

  private struct Columns {
    let section: Int
    let price: Int
    let isMajor: Bool
    let capacity: Int?
    let row: Int?
    let seat: Int?
    let names: [String]
  }

  private let columns: Columns
  private let currency: Currency?
  private var problems: [String] = []
  private var sections: [SectionDraft] = []
  private var index: [String: Int] = [:]
  private var total = 0
  private var rows = RowOrder()

  /// - Parameter currency: the event's, for prices in main units.
  static func sections(_ text: String, currency: Currency?) throws(Problem) -> [SectionDraft] {
    let records = try CSVRecords(text).records
    guard let first = records.first else {
      throw CSVText.invalid("The table is empty. Its first line names the columns.")
    }
    var table = SeatTable(columns: try columns(first), currency: currency)
    for record in records.dropFirst() { table.read(record) }
    return try table.finished()
  }

  private init(columns: Columns, currency: Currency?) {
    self.columns = columns
    self.currency = currency
  }

  // MARK: The first line

  private static func columns(_ first: CSVRecords.Record) throws(Problem) -> Columns {
    let plain = first.values.map { value in value.lowercased().filter { $0.isLetter || $0.isNumber } }
    var problems: [String] = []
    for name in ["section", "price", "pricemajor", "capacity", "row", "seat"]
    where plain.count(where: { $0 == name }) > 1 {
      problems.append("Line \(first.number) names the column `\(name)` twice.")
    }
    func column(_ name: String) -> Int? { plain.firstIndex(of: name) }
    let there = first.values.prefix(12).map { "`\($0.prefix(30))`" }.joined(separator: ", ")
    func missing(_ what: String) {
      problems.append("Line \(first.number) must name \(what). It has \(there).")
    }
    if column("section") == nil { missing("the column `section`") }
    let price = column("price"), major = column("pricemajor")
    if price == nil, major == nil { missing("the column `price`, or `price_major` for prices such as 25.50") }
    if price != nil, major != nil {
      problems.append(
        "Line \(first.number) names both `price` and `price_major`: one of them says the price.")
    }
    let capacity = column("capacity"), seat = column("seat")
    if (capacity != nil) == (seat != nil) {
      missing("either the columns `row` and `seat`, with a line for each seat, or the column `capacity`")
    }
    guard problems.isEmpty, let section = column("section"), let amount = price ?? major else {
      throw CSVText.invalid(problems.joined(separator: "\n"))
    }
    return Columns(
      section: section, price: amount, isMajor: price == nil, capacity: capacity, row: column("row"),
      seat: seat,
      names: first.values)
  }

  // MARK: The others

  private mutating func note(_ record: CSVRecords.Record, _ column: Int?, _ what: String) {
    let place = column.map { ", column \($0 + 1) (`\(columns.names[$0])`)" } ?? ""
    problems.append("Line \(record.number)\(place) \(what).")
  }

  private mutating func read(_ record: CSVRecords.Record) {
    // Programs leave separators behind the last value.
    let extra = record.values.dropFirst(columns.names.count)
    guard record.values.count >= columns.names.count, extra.allSatisfy(\.isEmpty) else {
      return note(record, nil, "has \(record.values.count) values for \(columns.names.count) columns")
    }
    let before = problems.count
    let name = label(record, columns.section, atMost: Limits.nameCharacters)
    let price = price(record)
    if let column = columns.capacity {
      let text = record.values[column]
      guard let count = Int(text), (1...Limits.ticketsPerEvent).contains(count) else {
        return note(
          record, column,
          "\"\(text.prefix(30))\" is not a number of places from 1 to \(Limits.ticketsPerEvent)")
      }
      guard problems.count == before, let name, let price else { return }
      // Before they are made: a table may ask for so many in every line.
      guard total + count <= Limits.ticketsPerEvent else {
        if total <= Limits.ticketsPerEvent {
          note(record, nil, "is beyond the limit of \(Limits.ticketsPerEvent) tickets")
        }
        total = Limits.ticketsPerEvent + 1
        return
      }
      put(
        name, price, Array(repeating: SectionDraft.Seat(row: nil, seat: nil, price: price), count: count),
        record)
    } else if let column = columns.seat {
      let seat = label(record, column, atMost: Limits.seatLabelCharacters)
      let rowLabel = columns.row.flatMap { column in
        record.values[column].isEmpty ? nil : label(record, column, atMost: Limits.seatLabelCharacters)
      }
      guard problems.count == before, let name, let price, let seat else { return }
      let place = rows.next(section: name, row: rowLabel, seat: seat)
      put(name, price, [SectionDraft.Seat(row: rowLabel, seat: seat, price: price, plan: place)], record)
    }
  }

  private mutating func put(
    _ name: String, _ price: Int, _ seats: [SectionDraft.Seat], _ record: CSVRecords.Record
  ) {
    guard total <= Limits.ticketsPerEvent else { return }
    total += seats.count
    guard total <= Limits.ticketsPerEvent else {
      return note(record, nil, "is beyond the limit of \(Limits.ticketsPerEvent) tickets")
    }
    if let known = index[name] {
      sections[known].seats += seats
      sections[known].price = min(sections[known].price, price)
    } else {
      index[name] = sections.count
      sections.append(SectionDraft(name: name, price: price, seats: seats))
    }
  }

  private mutating func label(_ record: CSVRecords.Record, _ column: Int, atMost limit: Int) -> String? {
    let text = record.values[column]
    if text.isEmpty {
      note(record, column, "is empty")
    } else if text.count > limit {
      note(record, column, "has \(text.count) characters; at most \(limit) are possible")
    } else if text.unicodeScalars.contains(where: \.steersText) {
      note(record, column, "has a line break in it, or another character that steers how text is shown")
    } else {
      return text
    }
    return nil
  }

  private mutating func price(_ record: CSVRecords.Record) -> Int? {
    let text = record.values[columns.price]
    let shown = "\"\(text.prefix(30))\""
    guard let decimal = Decimal(text) else {
      note(
        record, columns.price,
        "\(shown) is not a price: digits alone are expected"
          + (columns.isMajor ? ", with a point or a comma" : ""))
      return nil
    }
    if columns.isMajor {
      guard let currency else {
        note(record, columns.price, "cannot be read: the event has no currency that is known")
        return nil
      }
      guard let amount = decimal.minorUnits(digits: currency.digits) else {
        note(
          record, columns.price,
          "\(shown) has more than \(currency.digits) digits behind the point, which \(currency.code) does not have"
        )
        return nil
      }
      return inRange(amount, record, shown)
    }
    guard decimal.fraction.isEmpty else {
      note(
        record, columns.price,
        "\(shown) is not a whole number of minor units, such as cents. For prices in main units call the column "
          + "`price_major`")
      return nil
    }
    return inRange(decimal.minorUnits(digits: 0), record, shown)
  }

  private mutating func inRange(_ amount: Int?, _ record: CSVRecords.Record, _ shown: String) -> Int? {
    if let amount, (0...Limits.ticketPrice).contains(amount) { return amount }
    note(record, columns.price, "\(shown) is more than a ticket may cost")
    return nil
  }

  /// A number as a spreadsheet of any country writes it, without a currency and without thousands.
  private struct Decimal {
    let whole: Substring
    let fraction: Substring

    init?(_ text: String) {
      let parts = text.split(separator: text.contains(",") ? "," : ".", omittingEmptySubsequences: false)
      let isDigits = { (part: Substring) in !part.isEmpty && part.utf8.allSatisfy { (48...57).contains($0) } }
      guard (1...2).contains(parts.count), parts.allSatisfy(isDigits) else { return nil }
      whole = parts[0]
      fraction = parts.count == 2 ? parts[1] : ""
    }

    func minorUnits(digits: Int) -> Int? {
      let kept = fraction.reversed().drop { $0 == "0" }
      guard kept.count <= digits, whole.utf8.count <= 15 else { return nil }
      return Int(whole + String(kept.reversed()) + String(repeating: "0", count: digits - kept.count))
    }
  }

  private mutating func finished() throws(Problem) -> [SectionDraft] {
    if sections.isEmpty, problems.isEmpty {
      problems = ["There is no ticket in the table: behind the first line nothing follows."]
    }
    if problems.isEmpty, let problem = SectionDraft.problem(with: sections) {
      problems = ["The table has \(problem)."]
    }
    if problems.isEmpty { return sections }
    let told = problems.prefix(Self.problemsTold).joined(separator: "\n")
    let more = problems.count - Self.problemsTold
    throw CSVText.invalid(
      more > 0 ? told + "\nAnd \(more) more. Nothing was taken." : told + "\nNothing was taken.")
  }
}

/// Who sits beside whom in a table: the line before, of the same row, unless a number is left out between them.
private struct RowOrder {
  private struct Key: Hashable {
    let section: String
    let row: String?
  }
  private struct Last {
    let run: Int
    let place: Int
    let number: Int?
    /// The widest from one seat to the next, so far.
    let step: Int?
  }

  private var last: [Key: Last] = [:]
  private var runs = 0

  mutating func next(section: String, row: String?, seat: String) -> SectionDraft.Place {
    let key = Key(section: section, row: row)
    let number = Int(seat.filter(\.isNumber).suffix(9))
    let before = last[key]
    let step = before?.number.flatMap { old in number.map { $0 - old } }
    // Numbers go on by one, or by two in odd and even halves, up or down.
    let isBeside = step.map { (1...(before?.step ?? 2)).contains(abs($0)) } ?? true
    if isBeside, let before {
      let widest = step.map { max(abs($0), before.step ?? 0) } ?? before.step
      last[key] = Last(run: before.run, place: before.place + 1, number: number, step: widest)
    } else {
      runs += 1
      last[key] = Last(run: runs, place: 0, number: number, step: nil)
    }
    let now = last[key]
    return SectionDraft.Place(run: now?.run ?? runs, place: now?.place ?? 0)
  }
}
