import HTTPCommon
import Ledger
import Sale
import StoreCommon
import Text

/// Tickets as a table: `section,row,seat,price` with a line for each seat, or `section,capacity,price` with a line for
/// each section.
///
/// The first line names the columns, in any order; others are ignored. Better seats come first, and seats of a row whose
/// lines follow each other sit side by side, unless a number is left out. Prices are in minor units; a column
/// `price_major` has them in main units, with a point or a comma. Everything that is wrong is told at once, and then
/// nothing is taken.
struct SeatTable {
  /// `nil` for what the first line does not name, or not clearly.
  private struct Columns {
    let section: Int?
    let price: Int?
    let isMajor: Bool
    let capacity: Int?
    let row: Int?
    let seat: Int?
    let names: [String]
  }

  private let columns: Columns
  private let currency: Currency?
  private var findings: Findings
  /// The lines in which seats were first.
  private var lines: [NamedSeat: Int] = [:]
  private var sections: [SectionDraft] = []
  private var index: [String: Int] = [:]
  private var total = 0
  private var rows = RowOrder()

  /// - Parameter currency: the event's, for prices in main units.
  /// - Returns: with the lines of seats, which what is found later is told by.
  static func tickets(_ text: String, currency: Currency?) throws(Problem) -> TicketUpload.Tickets {
    let file = try CSVRecords(text), records = file.records
    guard let first = records.first else {
      throw CSVText.invalid("The table is empty. Its first line names the columns.")
    }
    var findings = Findings()
    let columns = columns(first, &findings)
    var table = SeatTable(columns: columns, currency: currency, findings: findings)
    var open = file.openLines[...]
    for record in records.dropFirst() {
      while let line = open.first, line < record.number {
        table.noteOpen(line)
        open.removeFirst()
      }
      table.read(record)
    }
    for line in open { table.noteOpen(line) }
    return TicketUpload.Tickets(sections: try table.finished(), lines: table.lines)
  }

  private init(columns: Columns, currency: Currency?, findings: Findings) {
    self.columns = columns
    self.currency = currency
    self.findings = findings
  }

  // MARK: The first line

  private static func columns(_ first: CSVRecords.Record, _ findings: inout Findings) -> Columns {
    let plain = first.values.map { value in value.lowercased().filter { $0.isLetter || $0.isNumber } }
    func note(_ what: String) {
      findings.note(
        Finding(.table(line: first.number, column: nil), "Line \(first.number) \(what)."))
    }
    for name in ["section", "price", "pricemajor", "capacity", "row", "seat"]
    where plain.count(where: { $0 == name }) > 1 {
      note("names the column `\(name)` twice")
    }
    func column(_ name: String) -> Int? { plain.firstIndex(of: name) }
    let there = first.values.prefix(12).map { "`\($0.prefix(30))`" }.joined(separator: ", ")
    func missing(_ what: String) { note("must name \(what). It has \(there)") }
    if column("section") == nil { missing("the column `section`") }
    let price = column("price"), major = column("pricemajor")
    if price == nil, major == nil { missing("the column `price`, or `price_major` for prices such as 25.50") }
    if price != nil, major != nil {
      note("names both `price` and `price_major`: one of them says the price")
    }
    let capacity = column("capacity"), seat = column("seat")
    let isClear = (capacity != nil) != (seat != nil)
    if !isClear {
      missing("either the columns `row` and `seat`, with a line for each seat, or the column `capacity`")
    }
    // What is not clear is not read: it would be wrong in every line.
    return Columns(
      section: column("section"), price: price == nil || major == nil ? price ?? major : nil,
      isMajor: price == nil, capacity: isClear ? capacity : nil, row: column("row"),
      seat: isClear ? seat : nil, names: first.values)
  }

  // MARK: The others

  private mutating func note(_ record: CSVRecords.Record, _ column: Int?, _ what: String) {
    let place = column.map { ", column \($0 + 1) (`\(columns.names[$0])`)" } ?? ""
    findings.note(
      Finding(
        .table(line: record.number, column: column.map { columns.names[$0] }),
        "Line \(record.number)\(place) \(what)."))
  }

  private mutating func noteOpen(_ line: Int) {
    findings.note(
      Finding(.table(line: line, column: nil), "Line \(line) has a quotation mark that is not closed."))
  }

  private mutating func read(_ record: CSVRecords.Record) {
    // Programs leave separators behind the last value.
    let extra = record.values.dropFirst(columns.names.count)
    guard record.values.count >= columns.names.count, extra.allSatisfy(\.isEmpty) else {
      return note(record, nil, "has \(record.values.count) values for \(columns.names.count) columns")
    }
    let name = columns.section.flatMap { label(record, $0, atMost: Limits.nameCharacters) }
    let price = columns.price.flatMap { self.price(record, $0) }
    if let column = columns.capacity {
      let count = capacity(record, column)
      guard let name, let price, let count, fits(count, record) else { return }
      let place = SectionDraft.Seat(row: nil, seat: nil, price: price)
      put(name, price, Array(repeating: place, count: count))
    } else if let column = columns.seat {
      let before = findings.count
      let seat = label(record, column, atMost: Limits.seatLabelCharacters)
      let rowLabel = columns.row.flatMap { column in
        record.values[column].isEmpty ? nil : label(record, column, atMost: Limits.seatLabelCharacters)
      }
      guard findings.count == before, let name, let price, let seat, fits(1, record) else { return }
      let place = rows.next(section: name, row: rowLabel, seat: seat)
      put(name, price, [SectionDraft.Seat(row: rowLabel, seat: seat, price: price, plan: place)])
      let key = NamedSeat(section: name, row: rowLabel, seat: seat)
      if let first = lines[key] {
        note(record, column, "is row \(rowLabel ?? "-") seat \(seat) of \"\(name)\", as line \(first) is")
      } else {
        lines[key] = record.number
      }
    }
  }

  private mutating func capacity(_ record: CSVRecords.Record, _ column: Int) -> Int? {
    let text = record.values[column]
    if let count = Int(text), (1...Limits.ticketsPerEvent).contains(count) { return count }
    note(
      record, column, "\"\(text.prefix(30))\" is not a number of places from 1 to \(Limits.ticketsPerEvent)")
    return nil
  }

  /// Whether so many more may be made, which is asked before they are: every line may ask for so many.
  private mutating func fits(_ count: Int, _ record: CSVRecords.Record) -> Bool {
    guard total <= Limits.ticketsPerEvent else { return false }
    total += count
    if total > Limits.ticketsPerEvent {
      note(record, nil, "is beyond the limit of \(Limits.ticketsPerEvent) tickets")
    }
    return total <= Limits.ticketsPerEvent
  }

  private mutating func put(_ name: String, _ price: Int, _ seats: [SectionDraft.Seat]) {
    let section = index[name] ?? sections.count
    if section < sections.count {
      sections[section].seats += seats
      sections[section].price = min(sections[section].price, price)
    } else {
      index[name] = section
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

  private mutating func price(_ record: CSVRecords.Record, _ column: Int) -> Int? {
    let text = record.values[column]
    let shown = "\"\(text.prefix(30))\""
    guard let decimal = Decimal(text) else {
      note(
        record, column,
        "\(shown) is not a price: digits alone are expected"
          + (columns.isMajor ? ", with a point or a comma" : ""))
      return nil
    }
    if columns.isMajor {
      guard let currency else {
        note(record, column, "cannot be read: the event has no currency that is known")
        return nil
      }
      // A thousand with its mark, or one: who guesses sells at a thousandth of the price.
      if decimal.fraction.utf8.count == 3, currency.digits != 3 {
        note(
          record, column,
          "\(shown) can be read in two ways: write thousands without a mark, as in 1000, and parts with \(currency.digits) digits at most"
        )
        return nil
      }
      guard let amount = decimal.minorUnits(digits: currency.digits) else {
        note(
          record, column,
          "\(shown) has more than \(currency.digits) digits behind the point, which \(currency.code) does not have"
        )
        return nil
      }
      return inRange(amount, record, column, shown)
    }
    guard decimal.fraction.isEmpty else {
      note(
        record, column,
        "\(shown) is not a whole number of minor units, such as cents. For prices in main units call the column "
          + "`price_major`")
      return nil
    }
    return inRange(decimal.minorUnits(digits: 0), record, column, shown)
  }

  private mutating func inRange(_ amount: Int?, _ record: CSVRecords.Record, _ column: Int, _ shown: String)
    -> Int?
  {
    if let amount, (0...Limits.ticketPrice).contains(amount) { return amount }
    note(record, column, "\(shown) is more than a ticket may cost")
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
    if sections.isEmpty, findings.isEmpty {
      findings.note(
        Finding(.unknown, "There is no ticket in the table: behind the first line nothing follows."))
    }
    if findings.isEmpty {
      for problem in SectionDraft.problems(with: sections) {
        findings.note(Finding(.unknown, "The table has \(problem)."))
      }
    }
    try findings.finish("invalid_csv")
    return sections
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
