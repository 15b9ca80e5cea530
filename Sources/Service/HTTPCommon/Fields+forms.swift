import JSON
import Text

/// What organizers write: strictly by name, and in the shapes that other programs export.
extension Fields {
  /// A body as an editor may have saved it, with a byte order mark in front. Who reads it says which members there may be
  /// (`refuseAllBut`), since that depends on what it holds.
  /// - Throws: as `init(body:only:)`, but for its type and its members.
  package init(file text: [UInt8]) throws(Problem) {
    try self.init(text: text.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(text.dropFirst(3)) : text)
  }

  /// Refuses members that nobody asks for: a name that is mistyped must not look as if it had been taken.
  /// - Parameter known: all that may be there.
  /// - Throws: 400 that names each of the others, and what may have been meant.
  package func refuseAllBut(_ known: Set<String>) throws(Problem) {
    try UnknownNames.refuse((json.members ?? []).lazy.map(\.name), known) { name in
      let field = FieldPlace(place, name)
      return (field.path, .body(pointer: field.pointer))
    }
  }

  /// A name, of at most so many characters, with one at least that can be seen.
  package func string(_ name: String, characters: Int) throws(Problem) -> String {
    guard let text = try optionalString(name, characters: characters) else {
      throw refused(name, "is required")
    }
    if text.isEmpty { throw refused(name, "must not be empty") }
    if text.unicodeScalars.allSatisfy(\.isInvisible) {
      throw refused(name, "must have a character that can be seen")
    }
    return text
  }

  /// `nil` when missing; may be empty.
  package func optionalString(_ name: String, characters: Int) throws(Problem) -> String? {
    guard let text = try optionalString(name, max: characters * Self.bytesPerCharacter) else { return nil }
    guard text.utf8.count <= characters || text.count <= characters else {
      throw refused(name, "must have at most \(characters) characters")
    }
    return text
  }

  /// Accents and all; longer ones leave room for fewer.
  private static let bytesPerCharacter = 12

  /// A label that may be written as a whole number, too; `nil` when missing or empty.
  package func label(_ name: String, characters: Int) throws(Problem) -> String? {
    if let number = json[name]?.integer { return String(number) }
    let text = try optionalString(name, characters: characters)
    return text?.isEmpty == true ? nil : text
  }

  /// The object `name`; `nil` when missing.
  package func optionalObject(_ name: String) throws(Problem) -> Fields? {
    guard has(name), let value = json[name] else { return nil }
    guard value.members != nil else {
      throw refused(name, "must be an object, not \(value.kind)")
    }
    return Fields(value, at: FieldPlace(place, name))
  }

  package func isEmptyList(_ name: String) -> Bool { json[name]?.array?.isEmpty == true }

  /// The names of the members.
  package var names: [String] { (json.members ?? []).map(\.name) }

  /// A text of the object as it is, of whatever length and content; `nil` where there is none.
  package func text(_ name: String) -> String? { json[name]?.string }

  /// A list of texts; `nil` when missing.
  package func optionalStrings(_ name: String, characters: Int, atMost count: Int) throws(Problem)
    -> [String]?
  {
    guard has(name), let value = json[name] else { return nil }
    guard let elements = value.array, elements.count <= count else {
      throw refused(name, "must be a list of at most \(count) texts")
    }
    var texts: [String] = []
    for (index, element) in elements.enumerated() {
      guard let text = element.string ?? element.integer.map(String.init),
        text.utf8.count <= characters * Self.bytesPerCharacter
      else {
        throw refused(name, "must be a text of at most \(characters) characters", at: index)
      }
      texts.append(text)
    }
    return texts
  }

  /// A number, whole or not; `nil` when missing.
  package func optionalNumber(_ name: String, within bound: Double) throws(Problem) -> Double? {
    guard has(name), let value = json[name] else { return nil }
    guard let number = value.double else {
      throw refused(name, "must be a number, not \(value.kind)")
    }
    guard abs(number) <= bound else {
      throw refused(name, "must be from -\(Int(bound)) to \(Int(bound))")
    }
    return number
  }

  // MARK: With all that is wrong

  /// The objects of a list; `nil` when missing. What is no object, or too much, is noted and left out.
  package func optionalObjects(
    _ name: String, atMost count: Int, _ findings: inout Findings
  ) -> [Fields]? {
    guard has(name), let value = json[name] else { return nil }
    guard let elements = value.array else {
      findings.note(refused(name, "must be a list, not \(value.kind)"))
      return []
    }
    if elements.count > count { findings.note(refused(name, "must have at most \(count) elements")) }
    var objects: [Fields] = []
    for (index, element) in elements.prefix(count).enumerated() {
      if element.members != nil {
        objects.append(Fields(element, at: FieldPlace(place, name, index, element)))
      } else {
        findings.note(refused(name, "must be an object, not \(element.kind)", at: index))
      }
    }
    return objects
  }

  /// The same of a list that must be there: empty where it is not.
  package func objects(_ name: String, atMost count: Int, _ findings: inout Findings) -> [Fields] {
    if let objects = optionalObjects(name, atMost: count, &findings) { return objects }
    findings.note(refused(name, "is required"))
    return []
  }

  /// The object `name`, as names and whole numbers. What is none is noted and left out.
  package func optionalNumbers(
    _ name: String, in range: ClosedRange<Int>, atMost count: Int, _ findings: inout Findings
  ) -> [String: Int] {
    guard let object = findings.take(try optionalObject(name)) else { return [:] }
    var numbers: [String: Int] = [:]
    if object.names.count > count { findings.note(refused(name, "must have at most \(count) members")) }
    for member in object.names.prefix(count) {
      numbers[member] = findings.take(try object.int(member, in: range))
    }
    return numbers
  }
}
