package import EventLoop
package import HTTPServer
import JSON
package import Sale
import Text

/// The members of a request's JSON object, each asked for with its type and limits.
///
/// A member that is missing, of another type or out of bounds is a 400 that names it. `null` counts as
/// missing. Members that nobody asks for are refused, too: one that is mistyped must not look as if it had been taken.
package struct Fields: Sendable {
  let json: JSON
  /// Where this object is within the body; `nil` at the top.
  let place: FieldPlace?

  /// - Parameter known: the names of all members that there may be.
  /// - Throws: 415 for a body of another type, 400 `invalid_json` for one that is not a JSON object, 400 `invalid_field`
  ///   that names all members beyond `known`.
  @LoopActor
  package init(body request: HTTPRequest, only known: Set<String>) throws(Problem) {
    try self.init(unchecked: request)
    try refuseAllBut(known)
  }

  /// The same, of which members beyond `known` are noted, so that they are told with whatever else is wrong.
  @LoopActor
  package init(
    body request: HTTPRequest, only known: Set<String>, _ findings: inout Findings
  ) throws(Problem) {
    try self.init(unchecked: request)
    findings.take(try refuseAllBut(known))
  }

  @LoopActor
  private init(unchecked request: HTTPRequest) throws(Problem) {
    try Self.checkType(request)
    try self.init(text: request.body)
  }

  @LoopActor
  private static func wanted(_ request: HTTPRequest) -> String {
    // What curl says of everything unless it is told.
    let hint = request.path.hasSuffix("/tickets") ? ", or, with a table of seats, text/csv" : ""
    return "The body must be application/json\(hint), as its Content-Type says."
  }

  /// - Throws: 415 for a body that does not say that it is JSON.
  @LoopActor
  package static func checkType(_ request: HTTPRequest) throws(Problem) {
    if let type = request.header("Content-Type"), type != "application/json" {
      let type = type.prefix { $0 != ";" }.lowercased().filter { $0 != " " }
      guard type == "application/json" || type.hasSuffix("+json") || type.isEmpty else {
        throw Problem(415, "unsupported_media_type", Self.wanted(request))
      }
    }
  }

  package init(text: [UInt8]) throws(Problem) {
    guard !text.isEmpty else {
      throw Problem(400, "invalid_json", "The body must be a JSON object; it is empty.")
    }
    let json: JSON
    do {
      json = try JSON(parsing: text)
    } catch {
      // The parser quotes what it stumbled over, which may be anything; where it did is enough.
      let place = error.description.ranges(of: "(line").last.map { " " + error.description[$0.lowerBound...] }
      throw Problem(400, "invalid_json", "The body is not JSON\(place ?? "").")
    }
    guard json.members != nil else {
      throw Problem(400, "invalid_json", "The body must be a JSON object, not \(json.kind).")
    }
    self.init(json, at: nil)
  }

  init(_ json: JSON, at place: FieldPlace?) {
    self.json = json
    self.place = place
  }

  /// That the member `name`, or an element of it, is not as it must be.
  /// - Parameter reason: follows the name in a sentence.
  package func refused(_ name: String, _ reason: String, at index: Int? = nil) -> Problem {
    let field = FieldPlace(place, name, index)
    let words = field.words
    // The path is for who writes the body, the words are for who drew the plan.
    let detail =
      words.isEmpty
      ? "The field `\(field.path)` \(reason)."
      : "\(words.prefix(1).uppercased())\(words.dropFirst()): the field `\(field.path)` \(reason)."
    return Problem(400, "invalid_field", detail, errors: [Finding(.body(pointer: field.pointer), detail)])
  }

  /// Whether the member is there and not `null`.
  package func has(_ name: String) -> Bool { value(name) != nil }

  /// Whether the member is there, be it `null`: where `null` means something else than leaving it out.
  package func mentions(_ name: String) -> Bool { json[name] != nil }

  /// The object `name`, as names and whole numbers; `nil` when missing.
  package func optionalNumbers(
    _ name: String, in range: ClosedRange<Int>, atMost count: Int
  ) throws(Problem) -> [String: Int]? {
    guard let value = value(name) else { return nil }
    guard let members = value.members else { throw wrong(name, "an object", value) }
    guard members.count <= count else {
      throw refused(name, "must have at most \(count) members")
    }
    let fields = Fields(value, at: FieldPlace(place, name))
    var numbers: [String: Int] = [:]
    for member in members { numbers[member.name] = try fields.int(member.name, in: range) }
    return numbers
  }

  private func value(_ name: String) -> JSON? {
    switch json[name] {
    case nil, .null?: nil
    case let value?: value
    }
  }

  private func required<Value>(_ value: Value?, _ name: String) throws(Problem) -> Value {
    guard let value else { throw refused(name, "is required") }
    return value
  }

  private func wrong(_ name: String, _ expected: String, _ value: JSON, at index: Int? = nil) -> Problem {
    refused(name, "must be \(expected), not \(value.kind)", at: index)
  }

  // MARK: Texts

  /// A text that is not empty, of at most `max` UTF-8 bytes and without characters that steer how text is shown.
  /// - Parameter isMultiline: whether line breaks and tabs are allowed.
  package func string(_ name: String, max: Int, isMultiline: Bool = false) throws(Problem) -> String {
    let text = try required(try optionalString(name, max: max, isMultiline: isMultiline), name)
    if text.isEmpty { throw refused(name, "must not be empty") }
    return text
  }

  /// `nil` when missing; may be empty.
  package func optionalString(_ name: String, max: Int, isMultiline: Bool = false) throws(Problem) -> String?
  {
    guard let value = value(name) else { return nil }
    guard let text = value.string else { throw wrong(name, "a string", value) }
    guard text.utf8.count <= max else { throw refused(name, "must have at most \(max) bytes") }
    for scalar in text.unicodeScalars where scalar.steersText {
      if isMultiline && (scalar == "\n" || scalar == "\r" || scalar == "\t") { continue }
      throw refused(name, "must not contain control characters, or any that turn the direction of writing")
    }
    return text
  }

  // MARK: Numbers

  package func int(_ name: String, in range: ClosedRange<Int>) throws(Problem) -> Int {
    try required(try optionalInt(name, in: range), name)
  }

  package func optionalInt(_ name: String, in range: ClosedRange<Int>) throws(Problem) -> Int? {
    guard let value = value(name) else { return nil }
    guard let number = value.integer else { throw wrong(name, "an integer", value) }
    guard range.contains(number) else { throw refused(name, Self.bounds(range)) }
    return number
  }

  /// A list of integers, each within `range`; `nil` when missing.
  package func optionalInts(
    _ name: String, in range: ClosedRange<Int>, atMost count: Int
  ) throws(Problem) -> [Int]? {
    guard let value = value(name) else { return nil }
    guard let elements = value.array else { throw wrong(name, "a list", value) }
    guard elements.count <= count else {
      throw refused(name, "must have at most \(count) elements")
    }
    var numbers: [Int] = []
    numbers.reserveCapacity(elements.count)
    for (index, element) in elements.enumerated() {
      guard let number = element.integer else { throw wrong(name, "an integer", element, at: index) }
      guard range.contains(number) else {
        throw refused(name, Self.bounds(range), at: index)
      }
      numbers.append(number)
    }
    return numbers
  }

  package func optionalBool(_ name: String) throws(Problem) -> Bool? {
    guard let value = value(name) else { return nil }
    guard let flag = value.bool else { throw wrong(name, "true or false", value) }
    return flag
  }

  private static func bounds(_ range: ClosedRange<Int>) -> String {
    if range.upperBound == .max { return "must be at least \(range.lowerBound)" }
    return "must be from \(range.lowerBound) to \(range.upperBound)"
  }

  // MARK: Times

  /// Seconds since 1970.
  package func time(_ name: String) throws(Problem) -> Int {
    try required(try optionalTime(name), name)
  }

  package func optionalTime(_ name: String) throws(Problem) -> Int? {
    guard let value = value(name) else { return nil }
    guard let text = value.string else { throw wrong(name, "a time as text", value) }
    guard let seconds = Time.parse(text) else {
      throw refused(name, "must be a time such as 2026-05-01T19:30:00Z")
    }
    return seconds
  }

  /// A zone of the IANA database; `nil` when missing.
  package func optionalZone(_ name: String) throws(Problem) -> VenueZone? {
    guard let text = try optionalString(name, max: Limits.timeZoneBytes) else { return nil }
    guard let zone = VenueZone(text) else {
      throw refused(name, "must be a zone of the IANA database such as Europe/Berlin, not \"\(text)\"")
    }
    return zone
  }

  package func time(_ name: String, at zone: VenueZone?) throws(Problem) -> Int {
    try required(try optionalTime(name, at: zone), name)
  }

  /// A time, which may leave out its offset where it is known on whose clocks: at a place with a zone.
  /// - Parameter zone: of the place; `nil` where that is not told in the same breath.
  package func optionalTime(_ name: String, at zone: VenueZone?) throws(Problem) -> Int? {
    guard let text = value(name)?.string, let wallClock = Time.parseWallClock(text) else {
      return try optionalTime(name)
    }
    guard let zone else {
      throw refused(name, "must end in Z or an offset such as +02:00, or `time_zone` must be told too")
    }
    let moments = zone.moments(of: wallClock)
    guard let moment = moments.first else {
      throw refused(name, "is a time that \(zone.name) does not have: clocks are put forward over it")
    }
    guard moments.count == 1 else {
      let texts = moments.map { Time.text($0, in: zone) }.joined(separator: " or ")
      throw refused(name, "comes twice in \(zone.name): say \(texts)")
    }
    return moment
  }

  // MARK: Lists of objects

  /// The objects of a list; `nil` when missing. Problems with their members name the list and the index too.
  package func optionalObjects(_ name: String, atMost count: Int) throws(Problem) -> [Fields]? {
    guard let value = value(name) else { return nil }
    guard let elements = value.array else { throw wrong(name, "a list", value) }
    guard elements.count <= count else {
      throw refused(name, "must have at most \(count) elements")
    }
    var objects: [Fields] = []
    for (index, element) in elements.enumerated() {
      guard element.members != nil else { throw wrong(name, "an object", element, at: index) }
      objects.append(Fields(element, at: FieldPlace(place, name, index, element)))
    }
    return objects
  }

  package func objects(_ name: String, atMost count: Int) throws(Problem) -> [Fields] {
    try required(try optionalObjects(name, atMost: count), name)
  }
}
