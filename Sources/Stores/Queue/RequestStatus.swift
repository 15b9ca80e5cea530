package import Sale

/// Where one request stands, as its poller is told: decided from the event's head document and, for requests that
/// were decided one by one, from their record.
package struct RequestStatus: Sendable, Equatable {
  package var state: RequestState
  /// How many places are to be decided before this one; 0 once it is decided.
  package var ahead = 0
  package var tickets: [Int] = []
  /// In minor units; `nil` while there is nothing to pay.
  package var amount: Int?
  /// When the hold ends, in milliseconds since 1970 on Redis's clock; `nil` without a hold that ends.
  package var deadline: Int?
  package var reason: String?
  /// Where the buyer goes to confirm a payment that waits for them.
  package var redirectURL: String?
  /// With the reason `only_n_left`: how many.
  package var left: Int?
  /// Until when the place may be kept by a smaller or looser wish, in milliseconds since 1970 on Redis's clock.
  package var answerUntil: Int?
  /// The key of the user whose request it is; `nil` when it was told from the line as a whole.
  package var owner: String?

  package init(state: RequestState, reason: String? = nil) {
    self.state = state
    self.reason = reason
  }

  /// The status of a request whose record nobody has looked at; `nil` if it may have one.
  ///
  /// A line says it for all who are in it, and nothing is written for each: they wait before the head or behind it, their
  /// line has ended since nothing satisfies its wish any more, or all lines have, sold out or closed.
  /// - Parameters:
  ///   - wish: `nil` where it is not known.
  ///   - mark: of its line.
  package init?(unread position: Int, wish: WishPlace?, document: QueueDocument, mark: LineMark?) {
    let passed = mark?.served.flatMap { position > $0.position ? $0 : nil }
    if let end = mark?.certainEnd(of: position) {
      self.init(end)
    } else if position > document.head
      || passed != nil && position > max(document.soldOutUpTo, document.closedUpTo)
    {
      self.init(waiting: position, wish, document, passed)
    } else if passed != nil || position > document.decidedUpTo, let all = Self.ended(position, document) {
      self = all
    } else {
      return nil
    }
  }

  /// The status of a request that has no record. - Returns: `nil` when there should be one.
  package init?(position: Int, wish: WishPlace?, document: QueueDocument, mark: LineMark?) {
    let passed = mark?.served.flatMap { position > $0.position ? $0 : nil }
    // Not of an end that came after everything was sold, and told to everybody who waited then.
    if let end = mark?.end(of: position), position > end.after || position > document.soldOutUpTo {
      self.init(end)
    } else if let all = Self.ended(position, document) {
      self = all
    } else if position > document.head || passed != nil {
      self.init(waiting: position, wish, document, passed)
    } else {
      return nil
    }
  }

  /// - Parameter passed: the last one served of the line, if the head has passed some behind.
  private init(waiting position: Int, _ wish: WishPlace?, _ document: QueueDocument, _ passed: LinePlace?) {
    self.init(state: position > document.head ? .queued : .standby)
    if position > document.head { ahead = position - document.head - 1 }
    // Nobody comes to the head before those who want the same.
    if let passed, let wish { ahead = max(ahead, wish.ordinal - passed.ordinal - 1) }
  }

  private init(_ end: LineMark.End) {
    self.init(state: .rejected, reason: end.refusal.reason)
    left = end.refusal.left
    if end.refusal.mayBeAnswered { answerUntil = end.answerUntil }
  }

  /// How everybody's line ended for the place, if it did.
  private static func ended(_ position: Int, _ document: QueueDocument) -> RequestStatus? {
    if position <= document.soldOutUpTo { return RequestStatus(state: .soldOut) }
    if position <= document.closedUpTo {
      return RequestStatus(state: .rejected, reason: document.closingReason)
    }
    return nil
  }

  /// The status of a request with a record; a standby may have ended together with everyone in line since.
  package init(position: Int, document: QueueDocument, record: RequestRecord) {
    switch record.state {
    case .standby:
      self = RequestStatus.ofStandby(position, document)
    case .reserved:
      self.init(state: .reserved)
      deadline = record.deadline
    case .confirming where record.reason.hasPrefix(Self.actionPrefix):
      self.init(state: .actionRequired)
      redirectURL = String(record.reason.dropFirst(Self.actionPrefix.count))
    case .confirming: self.init(state: .confirming)
    // Behind it stands what was given back of it.
    case .purchased: self.init(state: .purchased, reason: record.reason.isEmpty ? nil : record.reason)
    case .declined:
      self.init(state: .declined, reason: record.reason)
      deadline = record.deadline
    case .declinedForGood: self.init(state: .declined, reason: record.reason)
    case .expired: self.init(state: .expired, reason: record.reason.isEmpty ? nil : record.reason)
    case .soldOut: self.init(state: .soldOut)
    case .cancelled: self.init(state: .cancelled)
    case .rejected:
      self.init(state: .rejected, reason: record.reason)
      if record.reason == Refusal.onlyLeft(0).reason { left = record.amount }
    }
    owner = record.userKey
    switch state {
    case .reserved, .confirming, .actionRequired, .purchased:
      tickets = record.tickets
      amount = record.amount
    case .declined where record.state == .declined:
      tickets = record.tickets
      amount = record.amount
    default: break
    }
  }

  /// What comes before an address in the reason of a record whose payment waits for its buyer.
  static let actionPrefix = "action:"

  /// Who waits alone: passed over, or with a place that was kept after the end of its line and may be behind the head.
  private static func ofStandby(_ position: Int, _ document: QueueDocument) -> RequestStatus {
    ended(position, document) ?? RequestStatus(waiting: position, nil, document, nil)
  }

  /// Whether this may be told to the user with this key.
  package func concerns(_ user: String) -> Bool { owner == nil || owner == user }

  /// A place that Redis lost with the line, or gave to somebody else after it had lost its last writes.
  package static let lostPlace = RequestStatus(state: .rejected, reason: "queue_lost")
  package var isLostPlace: Bool { state == .rejected && reason == Self.lostPlace.reason }

  /// Whether nothing can change any more.
  package var isTerminal: Bool { state.isTerminal(hasHold: deadline != nil) }
}
