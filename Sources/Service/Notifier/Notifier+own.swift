import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Queue
import Sale
import StoreCommon

/// All that one user has open, on whichever device they asked for it.
extension Notifier {
  /// Shortest pause between two looks at all of them, in milliseconds: whoever waits for one of them polls that.
  private static let shortestPause = 5_000
  /// The longest: seats that are held are told of well before their time is over.
  private static let longestPause = 15_000

  private struct OwnRequest: Sendable {
    let text: String
    let id: RequestID
    let status: RequestStatus
    let document: QueueDocument?
    let name: String?

    /// What the user is to act upon comes first, what runs out soonest before all else; then the events made last.
    var order: (Int, Int) { (status.deadline ?? (isAsked ? Int.max - 1 : Int.max), -id.event) }
    private var isAsked: Bool { status.state == .actionRequired || status.answerUntil != nil }
  }

  private enum Look: Sendable {
    case open(OwnRequest)
    case over
    /// Cannot be said now.
    case unknown
  }

  func ownRequests(_ request: HTTPRequest) -> HTTPAnswer {
    checked {
      _ = try QueryItems(request, only: [])
      let user = try authenticator.user(request).user
      return answer { [self] in try await respond(toOwner: user) }
    }
  }

  private func respond(toOwner user: String) async throws -> HTTPResponse {
    let found = try await own.find(user)
    let owner = UserKey(user).text
    var isComplete = found.areAll
    var requests: [OwnRequest] = []
    // All at once: what they need of Redis and PostgreSQL goes out together.
    await withTaskGroup(of: Look.self) { group in
      for each in found.places {
        group.addTask { await self.look(at: each, of: owner) }
      }
      for await look in group {
        switch look {
        case .open(let own): requests.append(own)
        case .over: break
        case .unknown: isComplete = false
        }
      }
    }
    requests.sort { $0.order < $1.order }
    var json = JSONText(capacity: 256 * (requests.count + 1))
    json.append(#"{"requests":["#)
    for (index, own) in requests.enumerated() {
      json.append(index == 0 ? "{" : ",{")
      append(to: &json, own.text, own.id, own.status, own.document)
      if let name = own.name {
        json.append(#","event_name":"#)
        json.append(escaping: name)
      }
      json.append("}")
    }
    json.append(#"],"is_complete":"#)
    json.append(isComplete ? "true" : "false")
    json.append(#","poll_after_ms":"#)
    json.append(pause(requests, isComplete))
    json.append("}")
    return .json(200, serialized: json.bytes, headers: [("Cache-Control", "no-store")])
  }

  private func look(at own: QueueReader.OwnPlace, of owner: String) async -> Look {
    let id = RequestID(
      event: own.event, generation: own.place.generation, position: own.place.position, owner: owner,
      line: own.place.wish?.line ?? 0, ordinal: own.place.wish?.ordinal ?? 0)
    do {
      guard let (status, document) = try await current(id), isOpen(status) else { return .over }
      let name = try? await self.own.names.answer(own.event)?.value
      return .open(
        OwnRequest(text: ids.encode(id), id: id, status: status, document: document, name: name))
    } catch { return .unknown }
  }

  /// What is over may still be answered for a moment, with another wish.
  private func isOpen(_ status: RequestStatus) -> Bool {
    if status.state == .rejected { return status.answerUntil.map { $0 / 1_000 > Time.now } ?? false }
    return !status.isTerminal
  }

  /// Milliseconds until it makes sense to look again; 0 where nothing is open.
  private func pause(_ requests: [OwnRequest], _ isComplete: Bool) -> Int {
    if requests.isEmpty { return isComplete ? 0 : Self.longestPause }
    let shortest = requests.map { pause($0.id, $0.status, $0.document) }.min() ?? 0
    return min(max(shortest, Self.shortestPause), Self.longestPause)
  }
}
