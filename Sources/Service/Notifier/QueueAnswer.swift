import Archive
import HTTPServer
import JSON
import Queue
import Sale

/// How an event's queue is shown to everyone.
struct QueueAnswer {
  let bytes: [UInt8]

  init(_ document: QueueDocument, policy: PollPolicy) {
    let waiting = max(0, document.tail - document.head)
    let pause = policy.crowdPollAfterMilliseconds(
      waiting: waiting, tail: document.tail, grantsPerSecond: document.grantedPerSecond)
    self.init(
      state: document.isSoldOut && document.state == "open" ? "sold_out" : document.shownState,
      head: document.head,
      tail: document.tail, available: document.free, held: document.held, sold: document.sold,
      grantedPerSecond: document.grantedPerSecond, pollAfterMilliseconds: pause, message: document.message,
      version: IndexVersion(event: 0, generation: document.generation, queue: document.version))
  }

  /// An event without a queue: a draft, or one whose sale is over.
  /// - Parameter now: seconds since 1970.
  init(_ summary: PastRequests.Summary, policy: PollPolicy, now: Int) {
    let opensIn = summary.state == EventState.draft.rawValue ? summary.onsaleAt.map { $0 - now } : nil
    self.init(
      state: summary.shownState, head: summary.head, tail: summary.tail, available: summary.free, held: 0,
      sold: summary.sold, grantedPerSecond: 0,
      pollAfterMilliseconds: policy.pollAfterMilliseconds(opensInSeconds: opensIn), message: summary.message,
      version: IndexVersion(
        event: 0, generation: summary.state == "closed" ? IndexVersion.afterQueue : 0, queue: summary.sold))
  }

  /// A queue whose seats nobody has counted yet, because it was made a moment ago: PostgreSQL knows what is left.
  init(_ document: QueueDocument, counted summary: PastRequests.Summary, policy: PollPolicy) {
    var document = document
    document.free = summary.free
    document.sold = summary.sold
    self.init(document, policy: policy)
  }

  private init(
    state: String, head: Int, tail: Int, available: Int, held: Int, sold: Int, grantedPerSecond: Double,
    pollAfterMilliseconds: Int, message: String, version: IndexVersion
  ) {
    let json: JSON = [
      "state": .string(state), "head": .integer(head), "tail": .integer(tail),
      "available": .integer(available),
      "held": .integer(held), "sold": .integer(sold),
      "granted_per_second": .number((grantedPerSecond * 10).rounded() / 10),
      "poll_after_ms": .integer(pollAfterMilliseconds), "message": .string(message),
      "version": .integer(version.saleNumber),
    ]
    bytes = json.serialized()
  }

  static func response(_ bytes: [UInt8]) -> HTTPResponse {
    .json(200, serialized: bytes, headers: [("Cache-Control", "public, max-age=1")])
  }
}
