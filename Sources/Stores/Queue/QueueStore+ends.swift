import EventLoop
import Redis
import StoreCommon

/// A request that ended without a purchase.
package enum RequestEnd: Sendable, Equatable {
  case one(position: Int, state: RequestRecord.State)
  /// Everybody, up to this place, was told that everything is sold.
  case all(upTo: Int)
  /// All those of one wish, whose line has this number, behind one place and up to another.
  case line(Int, after: Int, upTo: Int, reason: String, left: Int)

  /// - Parameter text: the letter of its record and its position; `*` and a position; or `=`, the number of a line, and an
  ///   end of it as in its mark (`LineMark`).
  init?(_ text: String) {
    if text.first == "=" {
      let parts = text.dropFirst().split(separator: "/")
      guard parts.count == 6, let line = Int(parts[0]), let after = Int(parts[1]), let upTo = Int(parts[2]),
        let left = Int(parts[4])
      else { return nil }
      self = .line(line, after: after, upTo: upTo, reason: String(parts[5]), left: left)
      return
    }
    guard let letter = text.first, let position = Int(text.dropFirst()), position > 0 else { return nil }
    if letter == "*" {
      self = .all(upTo: position)
    } else if let state = RequestRecord.State(rawValue: letter) {
      self = .one(position: position, state: state)
    } else {
      return nil
    }
  }
}

extension QueueStore {
  package struct Ends: Sendable {
    package let generation: Int
    /// How many there were, those included that turned out to be none.
    package let count: Int
    package let ends: [RequestEnd]
  }

  /// Requests that have ended without a purchase and are not noted in PostgreSQL yet, the oldest first.
  /// - Parameter noted: how many of those that the last call of the same load returned are noted by now; they are not
  ///   returned again.
  package func ends(
    event: Int, epoch: Int, load: Int? = nil, noted: Int, limit: Int
  ) async throws -> Ends {
    let values = try await call(
      "onsale_ends", event, [Self.fence(epoch, load), .text("\(noted)"), .integer(limit)])
    guard values.count >= 2 else { throw StoreError(.unexpectedAnswer, "onsale_ends") }
    return Ends(
      generation: Self.number(values[1]), count: values.count - 2,
      ends: values.dropFirst(2).compactMap { $0.text.flatMap(RequestEnd.init) })
  }
}
