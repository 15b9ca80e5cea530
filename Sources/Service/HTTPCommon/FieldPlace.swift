import JSON
import Text

/// Where something is within a JSON body. Names are made of it only when there is something to say.
final class FieldPlace: Sendable {
  private let parent: FieldPlace?
  private let name: String
  /// In the list of that name.
  private let index: Int?
  /// What is there.
  private let value: JSON

  init(_ parent: FieldPlace?, _ name: String, _ index: Int? = nil, _ value: JSON = .null) {
    self.parent = parent
    self.name = name
    self.index = index
    self.value = value
  }

  /// Such as `sections[2].rows[0].seats`.
  var path: String {
    let own = index.map { "\(name)[\($0)]" } ?? name
    return parent.map { "\($0.path).\(own)" } ?? own
  }

  /// Such as `#/sections/2/rows/0/seats`.
  var pointer: String {
    let own = Self.token(name) + (index.map { "/\($0)" } ?? "")
    return "\(parent?.pointer ?? "#")/\(own)"
  }

  /// As organizers say it, such as `section "Stalls", row "A"`; empty where nothing on the way has a name of this kind.
  var words: String {
    let before = parent?.words ?? ""
    guard let own = ownWords else { return before }
    return before.isEmpty ? own : "\(before), \(own)"
  }

  /// What elements of lists are called, and the members that name them.
  private static let kinds: [String: (noun: String, names: [String])] = [
    "zones": ("zone", ["name"]), "sections": ("section", ["name"]), "categories": ("category", ["name"]),
    "rows": ("row", ["row_number", "row"]), "seats": ("seat", ["seat_number"]), "areas": ("area", ["text"]),
    "points": ("point", []),
  ]
  private static let nameShown = 40

  private var ownWords: String? {
    guard let index, let kind = Self.kinds[name] else { return nil }
    let label = kind.names.lazy.compactMap { Self.label(self.value[$0]?["text"] ?? self.value[$0]) }.first
    let own = label.map { "\(kind.noun) \"\($0)\"" } ?? "\(kind.noun) no. \(index + 1)"
    let guid = Self.label(value["seat_guid"]).map { " (seat_guid \"\($0)\")" }
    return own + (guid ?? "")
  }

  private static func label(_ value: JSON?) -> String? {
    guard let text = value?.string ?? value?.integer.map(String.init), !text.isEmpty else { return nil }
    return Escaping.terminal(text.count > nameShown ? text.prefix(nameShown) + "…" : text)
  }

  /// A reference token of a JSON Pointer, as a URI fragment has it.
  private static func token(_ name: String) -> String {
    var token = ""
    for byte in name.utf8 {
      switch byte {
      case UInt8(ascii: "~"): token += "~0"
      case UInt8(ascii: "/"): token += "~1"
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
        token.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let digits = String(byte, radix: 16, uppercase: true)
        token += byte < 0x10 ? "%0\(digits)" : "%\(digits)"
      }
    }
    return token
  }
}
