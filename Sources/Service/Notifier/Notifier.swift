package import Archive
package import EventLoop
package import HTTPCommon
package import HTTPServer
package import Identity
import JSON
import Logging
import Metrics
import Queue
import Sale

/// The role that tells clients where they stand.
///
/// A client in line is answered inside the server's callback, from memory. One that was decided costs one read of
/// its record, until that is remembered. A queue that has left Redis is answered from what PostgreSQL said of it, once
/// for everybody who ended with their line.
@LoopActor
package final class Notifier {
  /// Long polls at once for one place in line: a few pages of its buyer.
  private static let longPollsPerPlace = 4
  /// And for all places of one buyer, at however many events: so many waits one account may keep open here.
  static let longPollsPerUser = 16
  /// How many places from the head a long poll makes sense at whatever pace.
  private static let nearHead = 200.0
  /// Events without a queue that are kept in memory.
  private static let summariesKept = 10_000

  /// Long polls at once; beyond it clients are answered at once and told to come back. Each holds a connection,
  /// so it must leave enough of them to those who reserve and pay.
  package var longPollLimit = 10_000

  let watch: QueueWatch
  private let past: PastRequests
  private let labels: TicketLabels
  let ids: RequestIDCoder
  let authenticator: Authenticator
  private let policy = PollPolicy()
  private var longPolls = 0
  private(set) var longPollsByRequest: [String: Int] = [:]
  private(set) var longPollsByUser: [String: Int] = [:]
  /// Events without a queue, `nil` where there is no such event: asked for by crowds, before a sale and after.
  private lazy var summaries = FreshCache<Int, PastRequests.Summary?>(capacity: Self.summariesKept) {
    [past] event, _ in .some(try await past.summary(event: event))
  }
  private var isStopping = false
  private(set) lazy var own = OwnPlaces(watch: watch, past: past)
  private let fromMemory = MetricsRegistry.shared.counter(
    "onsale_polls_from_memory_total", "Polls answered without asking anybody")

  package init(
    watch: QueueWatch, past: PastRequests, labels: TicketLabels, ids: RequestIDCoder,
    authenticator: Authenticator
  ) {
    self.watch = watch
    self.past = past
    self.labels = labels
    self.ids = ids
    self.authenticator = authenticator
  }

  package func addRoutes(to router: inout Router) {
    router.on(.get, "/api/request/{request_id}") { [self] request in poll(request) }
    router.on(.get, "/api/event/{id}/queue") { [self] request in queue(request) }
    router.on(.get, "/api/me/requests", refuse: authenticator.refusesStrangers) { [self] request in
      ownRequests(request)
    }
  }

  /// Lets long polls end, and takes no new ones.
  package func stop() {
    isStopping = true
    watch.wakeAll()
  }

  // MARK: One request

  private static let pollItems: Set = ["wait", "state", "hold"]

  private func poll(_ request: HTTPRequest) -> HTTPAnswer {
    guard let text = request.parameters["request_id"], let id = ids.decode(text) else {
      return .now(
        .problem(
          404, code: "unknown_request", detail: "No request has this id. Ids come from a reserve call."))
    }
    do throws(Problem) {
      try QueryItems.refuseAllBut(Self.pollItems, request.queryItems)
    } catch {
      return .now(error.response)
    }
    var wait = 0
    if let asked = request.query("wait") {
      guard let seconds = Int(asked), (0...Limits.longPollSeconds).contains(seconds) else {
        return .now(
          .problem(
            400, code: "invalid_field",
            detail: "\"wait\" is a whole number of seconds from 0 to \(Limits.longPollSeconds)."))
      }
      wait = seconds
    }
    var known: RequestState?
    if let asked = request.query("state") {
      guard let state = RequestState(rawValue: asked) else {
        return .now(.problem(400, code: "invalid_field", detail: "\"state\" is not the name of a state."))
      }
      known = state
    }
    var hold: HoldReceipt?
    if let shown = request.query("hold") {
      hold = ids.holds.decode(shown, of: id)
      if hold == nil {
        return .now(
          .problem(
            400, code: "invalid_field", detail: "\"hold\" is not what an answer said of this request."))
      }
    }
    if let event = watch.known(id.event), let document = event.document, document.generation == id.generation,
      let status = event.status(id.position, id.wish), status.concerns(id.owner),
      hold.map({ isAsShown(status, $0) }) ?? true,
      wait == 0 || !isWorthWaiting(wait, status, known, document)
    {
      if labels.suffice(status, of: id.event),
        status.deadline == nil || watch.knowsTime(id.event)
      {
        fromMemory.increment()
        return .now(respond(text, id, status, document))
      }
    } else if let status = past.known(Self.key(id), owner: id.owner, wish: id.wish),
      labels.suffice(status, of: id.event)
    {
      // The line has left Redis, and nothing of it changes any more.
      fromMemory.increment()
      return .now(respond(text, id, status, nil))
    }
    if let answer = answerToLost(text, id) { return .now(answer) }
    return .later { [self] in await pollSlowly(text, id, wait: wait, known: known, hold) }
  }

  /// Whether a long poll of `wait` seconds makes sense: the state is the one the client knows, or, if it did not
  /// say, one that the buyer can only wait in, and it may change within that time.
  private func isWorthWaiting(
    _ wait: Int, _ status: RequestStatus, _ known: RequestState?, _ document: QueueDocument
  ) -> Bool {
    if status.isTerminal { return false }
    if let known, status.state != known { return false }
    return switch status.state {
    case .queued, .standby:
      Double(status.ahead) <= max(Self.nearHead, document.grantedPerSecond * Double(wait))
    case .lobby, .confirming, .actionRequired: true
    default: known != nil
    }
  }

  private func pollSlowly(
    _ text: String, _ id: RequestID, wait: Int, known: RequestState?, _ hold: HoldReceipt?
  ) async -> HTTPResponse {
    do {
      guard let event = try await watch.watch(id.event), let document = event.document,
        document.generation == id.generation
      else { return try await respondFromPast(text, id) }
      if wait == 0 || isStopping || longPolls >= longPollLimit
        || longPollsByRequest[text, default: 0] >= Self.longPollsPerPlace
        || longPollsByUser[id.owner, default: 0] >= Self.longPollsPerUser
      {
        return try await respondNow(text, id, event, hold)
      }
      longPolls += 1
      longPollsByRequest[text, default: 0] += 1
      longPollsByUser[id.owner, default: 0] += 1
      defer {
        longPolls -= 1
        let others = longPollsByRequest[text, default: 1] - 1
        longPollsByRequest[text] = others > 0 ? others : nil
        let ofUser = longPollsByUser[id.owner, default: 1] - 1
        longPollsByUser[id.owner] = ofUser > 0 ? ofUser : nil
      }
      let waiter = event.listen(to: id.position)
      defer { event.stopListening(waiter, to: id.position) }
      let deadline = EventLoop.shared.now + UInt64(wait) * 1000
      while true {
        guard let status = try await currentStatus(id, event), let document = event.document else {
          return try await respondFromPast(text, id)
        }
        let now = EventLoop.shared.now
        let hasWord = try await look(at: hold, status, id).reason != status.reason
        if !isWorthWaiting(wait, status, known, document) || hasWord || now >= deadline || isStopping {
          return try await respondNow(text, id, event, hold)
        }
        await waiter.wait(milliseconds: deadline - now)
      }
    } catch {
      return await respondWithout(error, text, id)
    }
  }

  private func currentStatus(_ id: RequestID, _ event: EventWatch) async throws -> RequestStatus? {
    try await watch.assure(event)
    guard let status = try await placeStatus(id, event) else { return nil }
    if status.concerns(id.owner) { return status }
    // What is lost is lost for good, and what is remembered may be of a Redis that is away by now.
    guard let place = try await watch.readAgain(event, id.position), place.generation == id.generation else {
      return nil
    }
    if let record = place.record, record.userKey != id.owner {
      return try await past.forfeit(Self.key(id), owner: id.owner)
    }
    let again = try await placeStatus(id, event)
    return again?.concerns(id.owner) == true ? again : nil
  }

  /// Where the place stands, whosever it is now.
  private func placeStatus(_ id: RequestID, _ event: EventWatch) async throws -> RequestStatus? {
    if id.position <= event.doubtfulUpTo,
      let status = try? await past.payment(Self.key(id), owner: id.owner)
    {
      return status
    }
    if let ended = event.endedBefore(id.position) { return ended }
    if let status = event.status(id.position, id.wish) { return status }
    let record = try await watch.record(event, id.position)
    guard let document = event.document, document.generation == id.generation else { return nil }
    if let record { return RequestStatus(position: id.position, document: document, record: record) }
    // A closed queue may be leaving Redis right now, records before the rest: PostgreSQL has them since before.
    if document.state == EventState.closed.rawValue,
      let past = try await past.status(Self.key(id), owner: id.owner, wish: id.wish), !past.isLostPlace
    {
      return past
    }
    var wish = id.wish
    if wish == nil, id.position <= document.head,
      let line = try await watch.line(event, id.position, userKey: id.owner)
    {
      // Ids of the version before do not know their lines.
      wish = WishPlace(line: line, ordinal: 0)
    }
    // It waits, or ended with its line or with everyone's; or there should be a record, and nothing can be said.
    return event.statusWithoutRecord(id.position, wish)
  }

  /// Whether nothing is to be said of what was held.
  private func isAsShown(_ status: RequestStatus, _ hold: HoldReceipt) -> Bool {
    switch status.state {
    case .lobby, .queued, .standby: false
    case .reserved: Set(status.tickets) == Set(hold.tickets)
    default: true
    }
  }

  /// Somebody shows what was held for the place: where it is in line all the same, the owner of the seats is to give them
  /// back, or they are lost, and that is told as the reason why it is where it is.
  private func look(
    at hold: HoldReceipt?, _ status: RequestStatus, _ id: RequestID
  ) async throws -> RequestStatus {
    guard let hold, watch.secondsLeft(id.event, deadline: hold.deadline) > 0 else { return status }
    if isAsShown(status, hold) { return status }
    var status = status
    // What was decided a moment ago is told by the next poll.
    let isLost = status.state.isInLine ? try await watch.isLost(hold, id) : true
    status.reason = isLost ? "hold_lost" : "hold_returning"
    return status
  }

  private func respondNow(
    _ text: String, _ id: RequestID, _ event: EventWatch, _ hold: HoldReceipt?
  ) async throws -> HTTPResponse {
    guard let current = try await currentStatus(id, event), let document = event.document else {
      return try await respondFromPast(text, id)
    }
    let status = try await look(at: hold, current, id)
    await labels.load(for: status, of: id.event)
    if status.deadline != nil { try? await watch.lookAtTime(id.event) }
    return respond(text, id, status, document)
  }

  private func respondFromPast(_ text: String, _ id: RequestID) async throws -> HTTPResponse {
    // Until a new one is begun nothing is known, and a crowd asks again and again.
    if isLost(id),
      try await past.lostLines.isUnknownNow(Self.key(id), isAbsent: watch.isAbsent(id.event))
    {
      return Self.unknown(id)
    }
    guard let status = try await past.status(Self.key(id), owner: id.owner, wish: id.wish) else {
      return Self.unknown(id)
    }
    await labels.load(for: status, of: id.event)
    return respond(text, id, status, nil)
  }

  /// What those are told whose line is lost, from memory: it costs no more than waiting.
  private func answerToLost(_ text: String, _ id: RequestID) -> HTTPResponse? {
    guard isLost(id) else { return nil }
    let answer: HTTPResponse
    if let status = past.lostLines.known(Self.key(id), owner: id.owner, line: id.line) {
      answer = respond(text, id, status, nil)
    } else if past.lostLines.isUnknown(Self.key(id)) {
      answer = Self.unknown(id)
    } else {
      return nil
    }
    fromMemory.increment()
    return answer
  }

  /// Whether Redis has no line of that life, as it said a moment ago.
  private func isLost(_ id: RequestID) -> Bool {
    guard let document = watch.known(id.event)?.document else { return watch.isAbsent(id.event) }
    return document.generation > id.generation
  }

  /// Seconds after which a crowd that cannot be told anything asks again, so that it does not come all at once.
  private static let unknownSeconds = 2...7

  /// Enqueued a moment ago and not seen yet, or lost with Redis: both are for the client to ask again.
  private static func unknown(_ id: RequestID) -> HTTPResponse {
    .problem(
      503, code: "unavailable", detail: "This request cannot be looked up at the moment.",
      headers: [("Retry-After", "\(unknownSeconds.lowerBound + id.position % unknownSeconds.count)")])
  }

  /// Redis is away: PostgreSQL knows what was sold, and nothing else can be said.
  private func respondWithout(_ error: any Error, _ text: String, _ id: RequestID) async -> HTTPResponse {
    if let status = try? await past.status(Self.key(id), owner: id.owner, wish: id.wish),
      status.state == .purchased
    {
      await labels.load(for: status, of: id.event)
      return respond(text, id, status, nil)
    }
    return problem(for: error).response
  }

  private func respond(
    _ text: String, _ id: RequestID, _ status: RequestStatus, _ document: QueueDocument?
  ) -> HTTPResponse {
    var json = JSONText(capacity: 256)
    json.append("{")
    append(to: &json, text, id, status, document)
    json.append("}")
    return .uncached(200, serialized: json.bytes)
  }

  // Written by hand: this is the most frequent answer of all, and nothing in it needs escaping but the reason.
  func append(
    to json: inout JSONText, _ text: String, _ id: RequestID, _ status: RequestStatus,
    _ document: QueueDocument?
  ) {
    let speed = document?.grantedPerSecond ?? 0
    json.append(#""request_id":""#)
    json.append(verbatim: text)
    json.append(#"","event_id":"#)
    json.append(id.event)
    json.append(#","state":""#)
    json.append(verbatim: status.state.rawValue)
    json.append(#"","position":"#)
    json.append(id.position)
    json.append(#","ahead":"#)
    json.append(status.ahead)
    if status.state.isInLine, let range = policy.eta(ahead: status.ahead, grantsPerSecond: speed) {
      json.append(#","eta_seconds":{"low":"#)
      json.append(range.lowerBound)
      json.append(#","high":"#)
      json.append(range.upperBound)
      json.append("}")
    }
    if !status.tickets.isEmpty {
      json.append(#","tickets":["#)
      for (index, ticket) in status.tickets.enumerated() {
        if index > 0 { json.append(",") }
        json.append(verbatim: labels.json(event: id.event, ticket: ticket))
      }
      json.append("]")
    }
    if let amount = status.amount {
      json.append(#","amount":"#)
      json.append(amount)
      if let currency = labels.currency(of: id.event) {
        json.append(#","currency":"#)
        json.append(escaping: currency)
      }
    }
    if let deadline = status.deadline {
      json.append(#","expires_at":""#)
      json.append(verbatim: Time.text(watch.end(id.event, deadline: deadline) / 1000))
      json.append(#"","expires_in_seconds":"#)
      json.append(watch.secondsLeft(id.event, deadline: deadline))
      if let document, document.standsSince != nil {
        json.append(verbatim: document.isStopped ? #","hold_time":"stopped""# : #","hold_time":"paused""#)
      }
    }
    if status.state == .reserved || status.state == .declined, let deadline = status.deadline {
      json.append(#","hold":""#)
      json.append(
        verbatim: ids.holds.encode(
          HoldReceipt(
            generation: id.generation, deadline: deadline, amount: status.amount ?? 0, tickets: status.tickets
          ),
          of: id))
      json.append("\"")
    }
    if let reason = status.reason, !reason.isEmpty {
      json.append(#","reason":"#)
      json.append(escaping: reason)
    }
    if let url = status.redirectURL {
      json.append(#","action":{"redirect_url":"#)
      json.append(escaping: url)
      json.append("}")
    }
    if let left = status.left {
      json.append(#","left":"#)
      json.append(left)
    }
    if let until = status.answerUntil, until / 1000 > Time.now {
      json.append(#","answer_within_seconds":"#)
      json.append(until / 1000 - Time.now)
    }
    json.append(#","poll_after_ms":"#)
    json.append(pause(id, status, document))
  }

  func pause(_ id: RequestID, _ status: RequestStatus, _ document: QueueDocument?) -> Int {
    policy.pollAfterMilliseconds(
      status.isTerminal && status.state == .declined ? .expired : status.state, position: id.position,
      ahead: status.ahead, grantsPerSecond: document?.grantedPerSecond ?? 0)
  }

  /// Where a place stands now, with the document that says so while its line is there; `nil` where nothing is known of it.
  func current(_ id: RequestID) async throws -> (status: RequestStatus, document: QueueDocument?)? {
    if let event = try await watch.watch(id.event), let document = event.document,
      document.generation == id.generation, let status = try await currentStatus(id, event)
    {
      await labels.load(for: status, of: id.event)
      if status.deadline != nil { try? await watch.lookAtTime(id.event) }
      return (status, event.document)
    }
    guard let status = try await past.status(Self.key(id), owner: id.owner, wish: id.wish) else { return nil }
    await labels.load(for: status, of: id.event)
    return (status, nil)
  }

  static func key(_ id: RequestID) -> PurchaseKey {
    PurchaseKey(event: id.event, generation: id.generation, position: id.position)
  }

  // MARK: The queue as a whole

  private func queue(_ request: HTTPRequest) -> HTTPAnswer {
    guard let event = request.parameters["id"].flatMap({ Int($0) }), event > 0 else {
      return .now(.problem(404, code: "unknown_event", detail: "There is no event with this id."))
    }
    let known = watch.known(event)
    if let known, let answer = shared(known) { return .now(answer) }
    // There was no queue less than a second ago, or none with its seats counted: of a change we would have heard.
    if let summary = summaries.immediate(event) {
      return .now(summarized(summary.value, known, request))
    }
    return answer { [self] in
      let known = try await watch.watch(event)
      if let known, let answer = shared(known) { return answer }
      return summarized(try await summaries.answer(event)?.value, known, request)
    }
  }

  private func summarized(
    _ summary: PastRequests.Summary?, _ event: EventWatch?, _ request: HTTPRequest
  ) -> HTTPResponse {
    guard let summary else { return Problem.unknownEvent.response }
    if summary.isUnannounced {
      // Like an event that is not there; and what organizers are told is not for a cache in front.
      if authenticator.refusesAllButOrganizers(request) != nil { return Problem.unknownEvent.response }
      let answer = QueueAnswer(summary, policy: policy, now: Time.now)
      return .json(200, serialized: answer.bytes, headers: [("Cache-Control", "no-store")])
    }
    let answer =
      event?.document.map { QueueAnswer($0, counted: summary, policy: policy) }
      ?? QueueAnswer(summary, policy: policy, now: Time.now)
    return QueueAnswer.response(answer.bytes)
  }

  /// The same bytes for everyone, made once a document, so that a cache in front carries the crowd. `nil` until
  /// the queue's owner has loaded the seats: nothing free and nothing sold would be taken for sold out.
  private func shared(_ event: EventWatch) -> HTTPResponse? {
    guard let document = event.document, document.free + document.held + document.sold > 0 else { return nil }
    if event.sharedAnswer?.document != document {
      event.sharedAnswer = (document, QueueAnswer(document, policy: policy).bytes)
    }
    return event.sharedAnswer.map { QueueAnswer.response($0.bytes) }
  }
}

extension RequestID {
  /// The place among those who wish for the same; `nil` where the id does not know it.
  fileprivate var wish: WishPlace? { line > 0 ? WishPlace(line: line, ordinal: ordinal) : nil }
}
