import Foundation
import HTTPCommon
import HTTPServer

/// The text of a table as spreadsheets write it, in UTF-8.
///
/// What is not UTF-8 is converted where somebody says what it is; it is never guessed, since many encodings look alike,
/// and names would be spelled wrong on every ticket.
enum CSVText {
  /// What may be named as `charset`, as glibc calls it.
  private static let encodings: [String: String] = [
    "utf-8": "UTF-8", "utf8": "UTF-8", "us-ascii": "UTF-8", "windows-1252": "CP1252", "cp1252": "CP1252",
    "windows-1250": "CP1250", "windows-1251": "CP1251", "windows-1253": "CP1253", "windows-1254": "CP1254",
    "windows-1257": "CP1257", "iso-8859-1": "CP1252", "latin1": "CP1252", "iso-8859-2": "ISO-8859-2",
    "iso-8859-15": "ISO-8859-15", "macintosh": "MACINTOSH", "utf-16": "UTF-16", "utf-16le": "UTF-16LE",
    "utf-16be": "UTF-16BE",
    "shift_jis": "CP932", "gb18030": "GB18030", "big5": "BIG5", "euc-kr": "CP949",
  ]

  /// Types that programs give tables.
  static let types: Set = [
    "text/csv", "application/csv", "text/tab-separated-values", "text/plain", "application/vnd.ms-excel",
  ]

  /// - Parameter type: the upload's `Content-Type`, whose `charset` is believed.
  /// - Throws: 400 that names the line of what cannot be read, and the remedy; 415 for an unknown `charset`.
  static func read(_ bytes: [UInt8], type: String = "") throws(Problem) -> String {
    if isWorkbook(bytes) { throw workbook }
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { return try utf8(Array(bytes.dropFirst(3))) }
    if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
      return try converted(bytes, from: "UTF-16", name: "utf-16")
    }
    if let encoding = encodingOfPairs(bytes) {
      return try converted(bytes, from: encoding, name: encoding.lowercased())
    }
    guard let name = charset(type) else { return try utf8(bytes) }
    guard let encoding = encodings[name] else {
      throw Problem(
        415, "unsupported_media_type",
        "The charset \"\(name.prefix(40))\" is not known here. Save the file as \"CSV UTF-8\".")
    }
    return encoding == "UTF-8" ? try utf8(bytes) : try converted(bytes, from: encoding, name: name)
  }

  /// Whether these are sheets as Excel, LibreOffice or Numbers keep them: no table of text, whatever it is called.
  static func isWorkbook(_ bytes: [UInt8], type: String = "") -> Bool {
    bytes.starts(with: [0x50, 0x4B, 0x03, 0x04]) || bytes.starts(with: [0xD0, 0xCF, 0x11, 0xE0])
      || workbookTypes.contains { type.hasPrefix($0) }
  }

  private static let workbookTypes = [
    "application/vnd.openxmlformats-officedocument.spreadsheetml", "application/vnd.oasis.opendocument",
    "application/vnd.apple.numbers", "application/x-iwork-numbers", "application/vnd.ms-excel.sheet",
  ]

  static let workbook = invalid(
    "This is a workbook and not a table of text. Save it as CSV: in Excel as \"CSV UTF-8\", in LibreOffice as \"Text CSV\" "
      + "in UTF-8, in Numbers by File, Export To, CSV.")

  /// UTF-16 without a mark at its beginning: every other byte of what every table has, its first line, is zero.
  private static func encodingOfPairs(_ bytes: [UInt8]) -> String? {
    let start = bytes.prefix(512)
    guard bytes.count.isMultiple(of: 2), start.count >= 4 else { return nil }
    let zeros = [0, 1].map { parity in start.indices.count { $0 % 2 == parity && start[$0] == 0 } }
    if zeros[0] == 0, zeros[1] * 4 > start.count { return "UTF-16LE" }
    if zeros[1] == 0, zeros[0] * 4 > start.count { return "UTF-16BE" }
    return nil
  }

  private static func charset(_ type: String) -> String? {
    for parameter in type.split(separator: ";").dropFirst() {
      let parts = parameter.split(separator: "=", maxSplits: 1).map { $0.filter { $0 != " " && $0 != "\"" } }
      if parts.count == 2, parts[0].lowercased() == "charset" { return parts[1].lowercased() }
    }
    return nil
  }

  private static func utf8(_ bytes: [UInt8]) throws(Problem) -> String {
    if let text = String(validating: bytes, as: UTF8.self) { return text }
    let broken = BrokenLines(bytes)
    let numbers = broken.first.map(String.init).joined(separator: ", ")
    throw invalid(
      "Letters that are not UTF-8 are in \(broken.count == 1 ? "line" : "lines") \(numbers)"
        + (broken.count > broken.first.count ? " and \(broken.count - broken.first.count) more" : "")
        + (broken.first.first.map { "; in line \($0) it is column \(broken.column)" } ?? "")
        + ". In Excel, save the file as \"CSV UTF-8\"; or say what it is, such as "
        + "Content-Type: text/csv; charset=windows-1252.")
  }

  /// The lines in which something is not UTF-8, found by one walk over the bytes, however long a line is.
  private struct BrokenLines {
    /// As many as are told.
    private(set) var first: [Int] = []
    private(set) var count = 0
    /// In the first of them, the number of the value that has it.
    private(set) var column = 0
    private static let told = 10

    init(_ bytes: [UInt8]) {
      var parser = UTF8.ForwardParser(), rest = bytes.makeIterator()
      var line = 1, values = 1, isBroken = false, followsReturn = false
      while true {
        let byte: UInt8?
        switch parser.parseScalar(from: &rest) {
        case .emptyInput: return
        case .valid(let character): byte = character.count == 1 ? character.first : nil
        case .error:
          byte = nil
          if !isBroken {
            isBroken = true
            count += 1
            if count == 1 { column = values }
            if count <= Self.told { first.append(line) }
          }
        }
        switch byte {
        case UInt8(ascii: "\n") where followsReturn: break
        // A carriage return alone ends a line, too, as old programs have it.
        case UInt8(ascii: "\n"), UInt8(ascii: "\r"):
          line += 1
          values = 1
          isBroken = false
        case UInt8(ascii: ";"), UInt8(ascii: ","), UInt8(ascii: "\t"): values += 1
        default: break
        }
        followsReturn = byte == UInt8(ascii: "\r")
      }
    }
  }

  private static func converted(_ bytes: [UInt8], from encoding: String, name: String) throws(Problem)
    -> String
  {
    guard let converter = iconv_open("UTF-8", encoding), converter != iconv_t(bitPattern: -1) else {
      throw Problem(
        415, "unsupported_media_type", "The charset \"\(name)\" cannot be read here. Save the file as UTF-8.")
    }
    defer { iconv_close(converter) }
    var input = bytes.map { CChar(bitPattern: $0) }
    // No character of these encodings needs more than three bytes for one.
    var output = [CChar](repeating: 0, count: bytes.count * 3 + 16)
    let (read, written, failed) = input.withUnsafeMutableBufferPointer { from in
      output.withUnsafeMutableBufferPointer { to -> (Int, Int, Bool) in
        var source = from.baseAddress, target = to.baseAddress
        var left = from.count, room = to.count
        let status = iconv(converter, &source, &left, &target, &room)
        return (from.count - left, to.count - room, status == -1)
      }
    }
    let text = String(decoding: output[..<written].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    if failed {
      let line = text.count { $0 == "\n" || $0 == "\r\n" || $0 == "\r" } + 1
      throw invalid(
        "Line \(line) has a letter that \(name) does not have (byte \(read + 1)). Save the file as UTF-8.")
    }
    return text.hasPrefix("\u{feff}") ? String(text.unicodeScalars.dropFirst()) : text
  }

  static func invalid(_ detail: String) -> Problem { Problem(400, "invalid_csv", detail) }
}
