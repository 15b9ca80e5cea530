import HTTPCommon

/// A table split into lines and values as RFC 4180 has it, separated by whatever its first line is separated by.
struct CSVRecords {
  struct Record {
    /// Of its first line in the file, from 1.
    let number: Int
    var values: [String]
  }

  /// Lines that hold nothing are left out.
  let records: [Record]
  /// Lines in which a quotation mark opens that is not closed where it should be. They are no records, and what follows
  /// them is read as if they were whole.
  let openLines: [Int]

  init(_ text: String) throws(Problem) {
    var bytes = Array(text.utf8)
    // Excel's own word for the separator, in front of the table.
    var line = 1, given: UInt8?
    let start = bytes.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
    if start.count == 5, start.prefix(4).elementsEqual("sep=".utf8) {
      given = start.last
      bytes.removeFirst(Self.nextLine(bytes, from: start.endIndex))
      line = 2
    }
    let separator = given ?? Self.separator(bytes)
    let (all, open) = Self.split(bytes, separator, firstLine: line)
    records = all.filter { record in record.values.contains { !$0.isEmpty } }
    openLines = open
    guard open.first.map({ $0 >= records.first?.number ?? .max }) ?? true else {
      throw CSVText.invalid("Line \(open[0]) has a quotation mark that is not closed.")
    }
  }

  /// The one that the first line has most of, outside of quotation marks.
  private static func separator(_ bytes: [UInt8]) -> UInt8 {
    let candidates = [UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "\t")]
    var counts = [Int](repeating: 0, count: candidates.count)
    var isQuoted = false
    for byte in bytes {
      if byte == UInt8(ascii: "\"") { isQuoted.toggle() }
      if isQuoted { continue }
      if byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") { break }
      if let index = candidates.firstIndex(of: byte) { counts[index] += 1 }
    }
    let most = counts.max() ?? 0
    return candidates[counts.firstIndex(of: most) ?? 0]
  }

  /// Where the line begins that follows the one of that place.
  private static func nextLine(_ bytes: [UInt8], from index: Int) -> Int {
    func endsLine(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") }
    guard let end = bytes[index...].firstIndex(where: endsLine) else { return bytes.count }
    let isPair =
      bytes[end] == UInt8(ascii: "\r") && end + 1 < bytes.count && bytes[end + 1] == UInt8(ascii: "\n")
    return end + (isPair ? 2 : 1)
  }

  /// Takes time by the length of the table: a place is looked at again only behind a line that is open, once.
  private static func split(
    _ bytes: [UInt8], _ separator: UInt8, firstLine: Int
  ) -> (records: [Record], openLines: [Int]) {
    var openLines: [Int] = []
    /// Where the quotation mark opened.
    var opened = (line: firstLine, index: 0)
    var records: [Record] = []
    var values: [String] = [], value: [UInt8] = []
    // Known all the time: a value may be long, and have many marks.
    var isBlank = true
    var isQuoted = false, wasQuoted = false, line = firstLine, start = firstLine
    func add(_ byte: UInt8) {
      value.append(byte)
      if byte != UInt8(ascii: " ") { isBlank = false }
    }
    func clearValue() {
      value = []
      isBlank = true
    }
    func endValue() {
      let text = String(decoding: value, as: UTF8.self)
      values.append(wasQuoted ? text : text.trimmingBlanks)
      clearValue()
      wasQuoted = false
    }
    func endRecord() {
      endValue()
      records.append(Record(number: start, values: values))
      values = []
      start = line
    }
    var index = 0
    /// Goes on behind the line in which the mark opened.
    func skipOpenLine() {
      openLines.append(opened.line)
      values = []
      clearValue()
      isQuoted = false
      wasQuoted = false
      index = nextLine(bytes, from: opened.index)
      line = opened.line + 1
      start = line
    }
    while true {
      if index >= bytes.count {
        guard isQuoted else { break }
        skipOpenLine()
        continue
      }
      let byte = bytes[index]
      index += 1
      // A carriage return alone ends a line, too, as old programs have it.
      let next = index < bytes.count ? bytes[index] : 0
      let endsLine =
        byte == UInt8(ascii: "\n") || (byte == UInt8(ascii: "\r") && next != UInt8(ascii: "\n"))
      if endsLine { line += 1 }
      if isQuoted {
        if byte != UInt8(ascii: "\"") {
          add(byte)
        } else if next == UInt8(ascii: "\""), index < bytes.count {
          add(byte)
          index += 1
        } else {
          isQuoted = false
          // What is closed lines below, in the middle of a value, was closed by the next one's mark.
          let isAtEnd =
            index >= bytes.count || next == separator || [0x20, 0x0A, 0x0D].contains(next)
          if line > opened.line, !isAtEnd { skipOpenLine() }
        }
        continue
      }
      if byte == UInt8(ascii: "\""), isBlank {
        clearValue()
        isQuoted = true
        wasQuoted = true
        opened = (line, index)
      } else if byte == separator {
        endValue()
      } else if endsLine {
        endRecord()
      } else if byte != UInt8(ascii: "\r") {
        add(byte)
      }
    }
    if !value.isEmpty || !values.isEmpty { endRecord() }
    return (records, openLines)
  }
}

extension String {
  fileprivate var trimmingBlanks: String {
    func isBlank(_ scalar: Unicode.Scalar) -> Bool { scalar == " " || scalar == "\t" || scalar == "\u{a0}" }
    let body = unicodeScalars.drop(while: isBlank)
    guard let last = body.lastIndex(where: { !isBlank($0) }) else { return "" }
    return String(body[...last])
  }
}
