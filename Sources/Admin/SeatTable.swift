import API
import Onsale
import Store
import Text

/// Tickets as comma-separated values: `section,row,seat,price` with a line for each seat, or
/// `section,capacity,price` with a line for each section.
///
/// The first line names the columns, in any order; others are ignored. Better seats come first.
enum SeatTable {
  static func sections(_ text: [UInt8]) throws(Problem) -> [SectionDraft] {
    guard let decoded = String(validating: text, as: UTF8.self) else { throw invalid(1, "is not UTF-8") }
    let lines = try records(decoded)
    guard let first = lines.first else { throw invalid(1, "must name the columns; the file is empty") }
    let header = first.fields.map { $0.lowercased().filter { $0 != " " } }
    func column(_ name: String) -> Int? { header.firstIndex(of: name) }
    guard let section = column("section"), let price = column("price") else {
      throw invalid(1, "must name the columns `section` and `price`")
    }
    let capacity = column("capacity"), row = column("row"), seat = column("seat")
    guard (capacity != nil) != (seat != nil) else {
      throw invalid(1, "must name either the columns `row` and `seat` or the column `capacity`")
    }
    var sections: [SectionDraft] = [], index: [String: Int] = [:], total = 0
    for line in lines.dropFirst() {
      guard line.fields.count == header.count else {
        throw invalid(line.number, "has \(line.fields.count) values for \(header.count) columns")
      }
      let name = try label(line.fields[section], "section", line.number, atMost: Limits.sectionNameBytes)
      guard let amount = Int(line.fields[price]), (0...Limits.ticketPrice).contains(amount) else {
        throw invalid(line.number, "has a price that is not a whole number of minor units")
      }
      var seats = [SectionDraft.Seat]()
      if let capacity {
        guard let count = Int(line.fields[capacity]), (1...Limits.ticketsPerEvent).contains(count),
          total + count <= Limits.ticketsPerEvent
        else { throw invalid(line.number, "has a capacity that is no number, or too many") }
        seats = Array(repeating: SectionDraft.Seat(row: nil, seat: nil, price: amount), count: count)
      } else if let seat {
        let rowLabel = row.map { line.fields[$0] } ?? ""
        seats = [
          SectionDraft.Seat(
            row: rowLabel.isEmpty
              ? nil : try label(rowLabel, "row", line.number, atMost: Limits.seatLabelBytes),
            seat: try label(line.fields[seat], "seat", line.number, atMost: Limits.seatLabelBytes),
            price: amount)
        ]
      }
      total += seats.count
      guard total <= Limits.ticketsPerEvent else {
        throw invalid(line.number, "is beyond the limit of \(Limits.ticketsPerEvent) tickets")
      }
      if let known = index[name] {
        sections[known].seats += seats
        sections[known].price = min(sections[known].price, amount)
      } else {
        index[name] = sections.count
        sections.append(SectionDraft(name: name, price: amount, seats: seats))
      }
    }
    guard !sections.isEmpty else { throw invalid(2, "must be a ticket; there is none") }
    if let problem = SectionDraft.problem(with: sections) {
      throw Problem(400, "invalid_csv", "The file has \(problem).")
    }
    return sections
  }

  private static func label(
    _ text: String, _ name: String, _ line: Int, atMost limit: Int
  ) throws(Problem) -> String {
    guard !text.isEmpty, text.utf8.count <= limit, !text.unicodeScalars.contains(where: \.steersText) else {
      throw invalid(
        line,
        "needs a \(name) of 1 to \(limit) bytes, without control characters or any that turn the direction of writing"
      )
    }
    return text
  }

  private static func invalid(_ line: Int, _ what: String) -> Problem {
    Problem(400, "invalid_csv", "Line \(line) \(what).")
  }

  private struct Record {
    let number: Int
    var fields: [String]
  }

  /// Splits into lines and fields as RFC 4180 has it; blank lines are left out.
  private static func records(_ text: String) throws(Problem) -> [Record] {
    var records: [Record] = []
    var fields: [String] = [], field: [UInt8] = []
    var isQuoted = false, wasQuoted = false, line = 1, start = 1
    func decoded() -> String {
      let text = String(decoding: field, as: UTF8.self)
      return wasQuoted ? text : text.trimmingBlanks
    }
    func endField() {
      fields.append(decoded())
      field = []
      wasQuoted = false
    }
    func endRecord() {
      endField()
      if fields != [""] { records.append(Record(number: start, fields: fields)) }
      fields = []
      start = line
    }
    let bytes = Array((text.hasPrefix("\u{feff}") ? String(text.unicodeScalars.dropFirst()) : text).utf8)
    var index = 0
    while index < bytes.count {
      let byte = bytes[index]
      index += 1
      if byte == UInt8(ascii: "\n") { line += 1 }
      if isQuoted {
        if byte != UInt8(ascii: "\"") {
          field.append(byte)
        } else if index < bytes.count, bytes[index] == UInt8(ascii: "\"") {
          field.append(byte)
          index += 1
        } else {
          isQuoted = false
        }
        continue
      }
      switch byte {
      case UInt8(ascii: "\"") where field.allSatisfy { $0 == UInt8(ascii: " ") }:
        field = []
        isQuoted = true
        wasQuoted = true
      case UInt8(ascii: ","): endField()
      case UInt8(ascii: "\r"): continue
      case UInt8(ascii: "\n"): endRecord()
      default: field.append(byte)
      }
    }
    if isQuoted { throw invalid(start, "has a quotation mark that is not closed") }
    if !field.isEmpty || !fields.isEmpty { endRecord() }
    return records
  }
}

extension String {
  fileprivate var trimmingBlanks: String {
    let body = drop { $0 == " " || $0 == "\t" }
    guard let last = body.lastIndex(where: { $0 != " " && $0 != "\t" }) else { return "" }
    return String(body[...last])
  }
}
