package import EventLoop
import Redis
package import Sale
import StoreCommon

/// An event's queue in the hands of its owner: what changes it says whose it is, and is refused with `StoreError`
/// `staleEpoch` once the partition has another owner or, where a load is named, the event was loaded anew.
@LoopActor
package struct OwnedQueue {
  let store: QueueStore
  package let event: Int
  /// The owner's fencing number.
  package let epoch: Int
  /// Names the load that the owner's memory is from; `nil` where the epoch alone is compared.
  package let load: Int?

  var fence: RedisArgument { load.map { .text("\(epoch):\($0)") } ?? .integer(epoch) }

  package struct LoadedQueue: Sendable {
    package let state: String
    package let generation: Int
    package let head: Int
    package let tail: Int
    package let rate: Int?
    package let isSoldOut: Bool
    /// How many places of an earlier life were taken up again in this one.
    package let rejoined: Int
    /// Whether there is a line for each wish, and not one for all, as the version before has it: see `split`.
    package let isSplit: Bool
    /// Lines with somebody whom the head has passed, and the last one served of each.
    package let waiting: [Int: LinePlace]
  }

  /// What a new owner starts from. Read it, and then the holds, before the sold tickets are read from PostgreSQL: a ticket
  /// sold in between is then held or sold, never free.
  /// Calls that name another load are refused from now on.
  package func takeOver() async throws -> LoadedQueue {
    let values = try await store.call("onsale_take_over", event, [.integer(epoch), .integer(load ?? 0)])
    let text = values.map { $0.text ?? "" }
    guard text.count >= 10 else { throw StoreError(.unexpectedAnswer, "onsale_take_over") }
    let marks = (values[9].array ?? []).map(QueueStore.number)
    var waiting: [Int: LinePlace] = [:]
    for index in stride(from: 0, to: marks.count - 2, by: 3) {
      waiting[marks[index]] = LinePlace(position: marks[index + 1], ordinal: marks[index + 2])
    }
    return LoadedQueue(
      state: text[1], generation: Int(text[2]) ?? 0, head: Int(text[3]) ?? 0, tail: Int(text[4]) ?? 0,
      rate: Int(text[5]), isSoldOut: text[6] == "1", rejoined: QueueStore.number(values[7]),
      isSplit: text[8] == "1", waiting: waiting)
  }

  /// Brings those who stand in the one line of the version before into those of their wishes, in steps, until nobody is
  /// left there. From then on that version serves the event no more.
  package func split() async throws {
    while true {
      let answer = try await store.redis.command([
        "XRANGE", .text(EventKeys(event).queue), "-", "+", "COUNT", .integer(Self.splitAtOnce),
      ])
      var arguments: [RedisArgument] = [fence]
      for value in answer.array ?? [] {
        guard let parts = value.array, parts.count == 2, let id = parts[0].text, let fields = parts[1].array
        else { continue }
        let values = QueueStore.fields(fields), user = values["u"] ?? ""
        arguments += [
          .text(String(id.prefix { $0 != "-" })), .text(values["r"] ?? ""), .text(user),
          .text(UserKey(user).text),
        ]
      }
      let left = try await store.call("onsale_split", event, arguments)
      if left.count > 1, QueueStore.number(left[1]) == 0 { return }
      try Task.checkCancellation()
    }
  }

  private static let splitAtOnce = 500

  /// Puts the map that the owner has loaded where everybody reads it.
  /// - Parameters:
  ///   - bitmap: bit i, most significant first, is set when ticket i is not free.
  ///   - reopened: whether the line was sold out and is not any more.
  ///   - ticketsVersion: of the event's tickets in PostgreSQL that it was made from: `QueueSettings.barGrants` asks for one.
  package func publishMap(
    bitmap: [UInt8], free: Int, held: Int, sold: Int, reopened: Bool, ticketsVersion: Int = 0
  ) async throws {
    _ = try await store.call(
      "onsale_publish_map", event,
      [
        fence, .bytes(bitmap), .integer(free), .integer(held), .integer(sold),
        reopened ? "1" : "0", .integer(ticketsVersion),
      ])
  }

  /// What became of holds that were shown. Their buyers hear of it.
  /// - Parameter holds: with whether the seats were given back.
  package func settle(_ holds: [(position: Int, isBack: Bool)]) async throws {
    if holds.isEmpty { return }
    _ = try await store.call(
      "onsale_settle_holds", event,
      [fence] + holds.flatMap { [.integer($0.position), $0.isBack ? "1" : "0"] })
  }

  package struct Ends: Sendable {
    package let generation: Int
    /// How many there were, those included that turned out to be none.
    package let count: Int
    package let ends: [RequestEnd]
  }

  /// Requests that have ended without a purchase and are not noted in PostgreSQL yet, the oldest first.
  /// - Parameter noted: how many of those that the last call of the same load returned are noted by now; they are not
  ///   returned again.
  package func ends(noted: Int, limit: Int) async throws -> Ends {
    let values = try await store.call(
      "onsale_ends", event, [fence, .text("\(noted)"), .integer(limit)])
    guard values.count >= 2 else { throw StoreError(.unexpectedAnswer, "onsale_ends") }
    return Ends(
      generation: QueueStore.number(values[1]), count: values.count - 2,
      ends: values.dropFirst(2).compactMap { $0.text.flatMap(RequestEnd.init) })
  }
}
