import EventLoop
import JSON
import Ledger
import Sale

/// The list of an event's seats as JSON, with a slot for each seat's availability, so that showing 70,000
/// seats costs a copy and not a serialisation.
///
/// What is told about a ticket never changes and tickets are only added, so a list is made once per event and
/// extended by making it anew. Bounded by the number of seats of all lists together.
@LoopActor
final class SeatLists {
  private static let capacity = 1_000_000
  /// Rows decoded in one turn of the loop.
  private static let pageSize = 4_000
  private static let yes = Array("true ".utf8)
  private static let no = Array("false".utf8)

  /// The seats of one section.
  struct Section: Sendable {
    var json: [UInt8] = []
    /// Offsets into `json` of the five bytes that say whether the seat is free, and the seats' ids.
    var slots: [Int32] = []
    var ids: [Int32] = []
  }

  struct List: Sendable {
    var total = 0
    /// Of the event's tickets, that it was made from.
    var version = 0
    var sections: [Int: Section] = [:]
  }

  private let events: ReadableEvents
  private var lists: [Int: List] = [:]
  private var making: [Int: Task<List, any Error>] = [:]

  init(events: ReadableEvents) { self.events = events }

  func list(of event: Event) async throws -> List {
    if let list = lists[event.id], list.total == event.total, list.version == event.ticketsVersion {
      return list
    }
    if let task = making[event.id] { return try await task.value }
    let task = Task { @LoopActor in
      defer { making[event.id] = nil }
      let list = try await make(event)
      if lists.values.reduce(list.total, { $0 + $1.total }) > Self.capacity { lists.removeAll() }
      lists[event.id] = list
      return list
    }
    making[event.id] = task
    return try await task.value
  }

  private func make(_ event: Event) async throws -> List {
    var list = List()
    list.version = event.ticketsVersion
    let names = Dictionary(
      event.sections.map { ($0.id, JSON.string($0.name).text) }, uniquingKeysWith: { first, _ in first })
    var last = 0
    while true {
      let page = try await events.read {
        try await $0.seats(event: event.id, after: last, limit: Self.pageSize)
      }.value
      for seat in page { Self.append(seat, name: names[seat.section] ?? "null", to: &list) }
      guard page.count == Self.pageSize, let end = page.last else { break }
      last = end.id
    }
    return list
  }

  private static func append(_ seat: Seat, name: String, to list: inout List) {
    let row = seat.row.map { JSON.string($0).text } ?? "null"
    let label = seat.seat.map { JSON.string($0).text } ?? "null"
    list.total += 1
    withSection(seat.section, of: &list) { section in
      if !section.json.isEmpty { section.json.append(UInt8(ascii: ",")) }
      section.json += "{\"id\":\(seat.id),\"section\":\(name),\"row\":\(row),\"seat\":\(label),".utf8
      if let block = seat.block { section.json += "\"block\":\(JSON.string(block).text),".utf8 }
      if let x = seat.x, let y = seat.y {
        section.json += "\"x\":\(hundredths(x)),\"y\":\(hundredths(y)),".utf8
      }
      section.json += "\"price\":\(seat.price),\"available\":".utf8
      section.slots.append(Int32(section.json.count))
      section.ids.append(Int32(seat.id))
      section.json += yes
      section.json.append(UInt8(ascii: "}"))
    }
  }

  private static func hundredths(_ number: Int) -> String { JSON.number(Double(number) / 100).text }

  private static func withSection(_ id: Int, of list: inout List, _ change: (inout Section) -> Void) {
    change(&list.sections[id, default: Section()])
  }

  /// Seats, and bytes, that are written in one turn of the loop: some milliseconds.
  private static let seatsAtOnce = 20_000
  private static let bytesAtOnce = 2 << 20

  /// - Parameter sections: ids, in the order they are listed.
  static func render(
    _ list: List, sections: [Int], unavailable: [UInt8], holdsAreKnown: Bool
  ) async -> [UInt8] {
    var body = Array("{\"holds_known\":\(holdsAreKnown),\"tickets\":[".utf8)
    body.reserveCapacity(sections.reduce(64) { $0 + (list.sections[$1]?.json.count ?? 0) + 1 })
    var seats = 0, bytes = 0
    func rest() async {
      guard seats >= seatsAtOnce || bytes >= bytesAtOnce else { return }
      (seats, bytes) = (0, 0)
      await EventLoop.shared.nextTurn()
    }
    for id in sections {
      guard let section = list.sections[id], !section.json.isEmpty else { continue }
      if body.last == UInt8(ascii: "}") { body.append(UInt8(ascii: ",")) }
      let start = body.count
      for first in stride(from: 0, to: section.json.count, by: bytesAtOnce) {
        let piece = section.json[first..<min(first + bytesAtOnce, section.json.count)]
        body += piece
        bytes += piece.count
        await rest()
      }
      for first in stride(from: 0, to: section.slots.count, by: seatsAtOnce) {
        let last = min(first + seatsAtOnce, section.slots.count)
        write(section, first..<last, unavailable, into: &body, at: start)
        seats += last - first
        await rest()
      }
    }
    body += "]}".utf8
    return body
  }

  /// Says of some seats of a section, whose JSON begins at `start`, that they are not free.
  private static func write(
    _ section: Section, _ seats: Range<Int>, _ unavailable: [UInt8], into body: inout [UInt8], at start: Int
  ) {
    for index in seats where Bitmap.contains(unavailable, Int(section.ids[index])) {
      let slot = start + Int(section.slots[index])
      for offset in no.indices { body[slot + offset] = no[offset] }
    }
  }
}
