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
  func within(_ part: Fields, _ findings: inout Findings) -> PlanGeometry {
    var inner = self
    if let point = Self.position(part, &findings) {
      let place = self.place(point)
      (inner.x, inner.y) = (place.x, place.y)
    }
    inner.rotation += findings.take(try part.optionalNumber("rotation", within: 36_000)) ?? 0
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
  static func position(_ part: Fields, _ findings: inout Findings) -> SeatNeighbours.Point? {
    guard let position = findings.take(try part.optionalObject("position")) else { return nil }
    let x = findings.take(try position.optionalNumber("x", within: bound))
    let y = findings.take(try position.optionalNumber("y", within: bound))
    guard let x, let y else { return nil }
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
  private var isFull = false

  init(_ plan: Fields, _ findings: inout Findings) {
    let size = findings.take(try plan.optionalObject("size"))
    func length(_ name: String) -> JSON {
      guard let size else { return 0 }
      let number = findings.take(try size.optionalNumber(name, within: PlanGeometry.bound))
      return PlanGeometry.json(max(0, number ?? 0))
    }
    self.size = ["width": length("width"), "height": length("height")]
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
  mutating func add(_ area: Fields, _ geometry: PlanGeometry, _ findings: inout Findings) {
    guard drawn.count < Self.areas else {
      if !isFull { findings.note(area.refused("shape", "is of an area beyond the limit of \(Self.areas)")) }
      isFull = true
      return
    }
    let origin = geometry.origin
    var members: [(name: String, value: JSON)] = [
      ("shape", .string(area.text("shape") ?? "text")), ("x", PlanGeometry.json(origin.x)),
      ("y", PlanGeometry.json(origin.y)), ("rotation", .number(geometry.rotation)),
      ("color", JSON(Self.colour(area.text("color")))),
      ("border_color", JSON(Self.colour(area.text("border_color")))),
    ]
    members += Self.shape(area, &findings)
    if let text = Self.text(area, &findings) { members.append(("text", text)) }
    drawn.append(.object(members))
  }

  private static func shape(_ area: Fields, _ findings: inout Findings) -> [(name: String, value: JSON)] {
    func number(_ fields: Fields, _ name: String) -> Double {
      findings.take(try fields.optionalNumber(name, within: PlanGeometry.bound)) ?? 0
    }
    func length(_ fields: Fields, _ name: String) -> JSON { PlanGeometry.json(max(0, number(fields, name))) }
    switch area.text("shape") {
    case "rectangle":
      guard let box = findings.take(try area.optionalObject("rectangle")) else { return [] }
      return [("width", length(box, "width")), ("height", length(box, "height"))]
    case "circle":
      guard let circle = findings.take(try area.optionalObject("circle")) else { return [] }
      let radius = length(circle, "radius")
      return [("radius_x", radius), ("radius_y", radius)]
    case "ellipse":
      guard let ellipse = findings.take(try area.optionalObject("ellipse")),
        let radius = findings.take(try ellipse.optionalObject("radius"))
      else { return [] }
      return [("radius_x", length(radius, "x")), ("radius_y", length(radius, "y"))]
    case "polygon":
      let polygon = findings.take(try area.optionalObject("polygon"))
      let points = polygon?.optionalObjects("points", atMost: Self.points, &findings) ?? []
      return [
        (
          "points",
          .array(
            points.map { point in
              [
                "x": PlanGeometry.json(number(point, "x")), "y": PlanGeometry.json(number(point, "y")),
              ]
            })
        )
      ]
    default: return []
    }
  }

  private static func text(_ area: Fields, _ findings: inout Findings) -> JSON? {
    guard let text = findings.take(try area.optionalObject("text")), let words = SeatingPlan.words(of: area)
    else { return nil }
    let place = PlanGeometry.position(text, &findings) ?? SeatNeighbours.Point(x: 0, y: 0)
    let size = findings.take(try text.optionalNumber("size", within: 1_000)) ?? 16
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
