import Foundation
import HTTPCommon
import JSON
import Sale

/// Where things of a seating plan are: positions within positions, turned and moved.
struct PlanGeometry {
  /// Nothing is further away, in the plan's unit.
  static let bound = 1e6

  private var x = 0.0
  private var y = 0.0
  /// In degrees, clockwise.
  private(set) var rotation = 0.0

  /// What is placed by `part` within this.
  func within(_ part: Fields) throws(Problem) -> PlanGeometry {
    var inner = self
    if let point = try Self.position(part) {
      let place = self.place(point)
      (inner.x, inner.y) = (place.x, place.y)
    }
    inner.rotation += try part.optionalNumber("rotation", within: 36_000) ?? 0
    return inner
  }

  /// A point of this in the whole plan.
  func place(_ point: SeatNeighbours.Point) -> SeatNeighbours.Point {
    if rotation == 0 { return SeatNeighbours.Point(x: x + point.x, y: y + point.y) }
    let angle = rotation * .pi / 180
    return SeatNeighbours.Point(
      x: x + point.x * cos(angle) - point.y * sin(angle), y: y + point.x * sin(angle) + point.y * cos(angle))
  }

  var origin: SeatNeighbours.Point { SeatNeighbours.Point(x: x, y: y) }

  /// `nil` where there is none.
  static func position(_ part: Fields, _ name: String = "position") throws(Problem) -> SeatNeighbours.Point? {
    guard let position = try part.optionalObject(name),
      let x = try position.optionalNumber("x", within: bound),
      let y = try position.optionalNumber("y", within: bound)
    else { return nil }
    return SeatNeighbours.Point(x: x, y: y)
  }

  static func hundredths(_ number: Double) -> Int { Int((number * 100).rounded()) }
  /// To a hundredth, as JSON.
  static func json(_ number: Double) -> JSON { .number((number * 100).rounded() / 100) }
}

/// What a seating plan shows beside the seats that are sold: its areas, and seats that nobody can buy.
struct PlanDrawing {
  private static let areas = 2_000
  private static let points = 1_000

  private let size: JSON
  private var drawn: [JSON] = []
  private var blocked: [JSON] = []

  init(_ plan: Fields) throws(Problem) {
    let size = try plan.optionalObject("size")
    let width = try size?.optionalNumber("width", within: PlanGeometry.bound) ?? 0
    let height = try size?.optionalNumber("height", within: PlanGeometry.bound) ?? 0
    self.size = ["width": PlanGeometry.json(max(0, width)), "height": PlanGeometry.json(max(0, height))]
  }

  var json: String {
    let json: JSON = ["size": size, "areas": .array(drawn), "blocked": .array(blocked)]
    return json.text
  }

  /// A seat that is seen and not sold.
  mutating func block(_ place: SeatNeighbours.Point) {
    blocked.append(["x": PlanGeometry.json(place.x), "y": PlanGeometry.json(place.y)])
  }

  /// - Parameter geometry: of the area.
  mutating func add(_ area: Fields, _ geometry: PlanGeometry) throws(Problem) {
    guard drawn.count < Self.areas else { throw .invalidField("zones", "has more than \(Self.areas) areas") }
    let origin = geometry.origin
    var members: [(name: String, value: JSON)] = [
      ("shape", .string(area.text("shape") ?? "text")), ("x", PlanGeometry.json(origin.x)),
      ("y", PlanGeometry.json(origin.y)), ("rotation", .number(geometry.rotation)),
      ("color", JSON(Self.colour(area.text("color")))),
      ("border_color", JSON(Self.colour(area.text("border_color")))),
    ]
    members += try Self.shape(area)
    if let text = try Self.text(area) { members.append(("text", text)) }
    drawn.append(.object(members))
  }

  private static func shape(_ area: Fields) throws(Problem) -> [(name: String, value: JSON)] {
    let bound = PlanGeometry.bound
    func number(_ fields: Fields, _ name: String) throws(Problem) -> JSON {
      PlanGeometry.json(max(0, try fields.optionalNumber(name, within: bound) ?? 0))
    }
    switch area.text("shape") {
    case "rectangle":
      guard let box = try area.optionalObject("rectangle") else { return [] }
      return [("width", try number(box, "width")), ("height", try number(box, "height"))]
    case "circle":
      guard let circle = try area.optionalObject("circle") else { return [] }
      let radius = try number(circle, "radius")
      return [("radius_x", radius), ("radius_y", radius)]
    case "ellipse":
      guard let radius = try area.optionalObject("ellipse")?.optionalObject("radius") else { return [] }
      return [("radius_x", try number(radius, "x")), ("radius_y", try number(radius, "y"))]
    case "polygon":
      var points: [JSON] = []
      for point in try area.optionalObject("polygon")?.optionalObjects("points", atMost: Self.points) ?? [] {
        let x = try point.optionalNumber("x", within: bound) ?? 0,
          y = try point.optionalNumber("y", within: bound) ?? 0
        points.append(["x": PlanGeometry.json(x), "y": PlanGeometry.json(y)])
      }
      return [("points", .array(points))]
    default: return []
    }
  }

  private static func text(_ area: Fields) throws(Problem) -> JSON? {
    guard let text = try area.optionalObject("text"), let words = SeatingPlan.words(of: area) else {
      return nil
    }
    let place = try PlanGeometry.position(text) ?? SeatNeighbours.Point(x: 0, y: 0)
    let size = try text.optionalNumber("size", within: 1_000) ?? 16
    return [
      "text": .string(words), "x": PlanGeometry.json(place.x), "y": PlanGeometry.json(place.y),
      "size": PlanGeometry.json(max(1, size)), "color": JSON(colour(text.text("color"))),
    ]
  }

  /// Only what is nothing but a colour: `#rgb`, `#rrggbb`, with or without opacity, or a word.
  private static func colour(_ text: String?) -> String? {
    guard let text, (3...20).contains(text.utf8.count) else { return nil }
    let isCode = text.hasPrefix("#") && text.utf8.dropFirst().allSatisfy { isHex($0) } && text.utf8.count <= 9
    let isWord = text.utf8.allSatisfy { (97...122).contains($0 | 0x20) }
    return isCode || isWord ? text : nil
  }

  private static func isHex(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (97...102).contains(byte | 0x20)
  }
}
