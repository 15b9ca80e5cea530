/// The part of Stripe's search language that finds payments by metadata and status.
struct SearchQuery: Equatable {
  struct Field: Equatable {
    let name: String
    let value: String
  }

  private(set) var metadata: [Field] = []
  private(set) var status: String?

  /// - Returns: `nil` for anything but `metadata['name']:'value'` and `status:'value'`, joined by AND.
  init?(_ text: String) {
    var rest = text[...]
    while true {
      if Self.skip("metadata[", &rest) {
        guard let name = Self.quoted(&rest), Self.skip("]:", &rest), let value = Self.quoted(&rest) else {
          return nil
        }
        metadata.append(Field(name: name, value: value))
      } else if Self.skip("status:", &rest) {
        guard let value = Self.quoted(&rest) else { return nil }
        status = value
      } else {
        return nil
      }
      rest = rest.drop { $0 == " " }
      if rest.isEmpty { return }
      guard Self.skip("AND ", &rest) || Self.skip("and ", &rest) else { return nil }
      rest = rest.drop { $0 == " " }
    }
  }

  private static func skip(_ prefix: String, _ rest: inout Substring) -> Bool {
    guard rest.hasPrefix(prefix) else { return false }
    rest = rest.dropFirst(prefix.count)
    return true
  }

  /// Text in single or double quotes, in which a backslash takes the next character as it is.
  private static func quoted(_ rest: inout Substring) -> String? {
    guard let quote = rest.popFirst(), quote == "'" || quote == "\"" else { return nil }
    var value = ""
    while let character = rest.popFirst() {
      if character == quote { return value }
      if character == "\\" {
        guard let escaped = rest.popFirst() else { return nil }
        value.append(escaped)
      } else {
        value.append(character)
      }
    }
    return nil
  }
}
