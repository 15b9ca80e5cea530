package import Onsale

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
  /// The key of the user whose request it is; `nil` when it was told from the line as a whole.
  package var owner: String?

  package init(state: RequestState, reason: String? = nil) {
    self.state = state
    self.reason = reason
  }

  /// The status of a request without a record.
  ///
  /// Being decided without a record of one's own is how a whole line learns that everything is sold, or that the
  /// event has closed. - Returns: `nil` when there should be a record.
  package init?(position: Int, document: QueueDocument) {
    if position <= document.soldOutUpTo {
      self.init(state: .soldOut)
    } else if position <= document.closedUpTo {
      self.init(state: .rejected, reason: "closed")
    } else if position > document.head {
      self.init(state: .queued)
      ahead = position - document.head - 1
    } else {
      return nil
    }
  }

  /// The status of a request with a record; a standby may have ended together with everyone in line since.
  package init(position: Int, document: QueueDocument, record: RequestRecord) {
    switch record.state {
    case .standby:
      self = RequestStatus.ofStandby(position, document)
    case .reserved:
      self.init(state: .reserved)
      deadline = record.deadline
    case .confirming: self.init(state: .confirming)
    case .purchased: self.init(state: .purchased)
    case .declined:
      self.init(state: .declined, reason: record.reason)
      deadline = record.deadline
    case .declinedForGood: self.init(state: .declined, reason: record.reason)
    case .expired: self.init(state: .expired, reason: record.reason.isEmpty ? nil : record.reason)
    case .soldOut: self.init(state: .soldOut)
    case .cancelled: self.init(state: .cancelled)
    case .rejected: self.init(state: .rejected, reason: record.reason)
    }
    owner = record.userKey
    switch state {
    case .reserved, .confirming, .purchased:
      tickets = record.tickets
      amount = record.amount
    case .declined where record.state == .declined:
      tickets = record.tickets
      amount = record.amount
    default: break
    }
  }

  private static func ofStandby(_ position: Int, _ document: QueueDocument) -> RequestStatus {
    if position <= document.soldOutUpTo { return RequestStatus(state: .soldOut) }
    if position <= document.closedUpTo { return RequestStatus(state: .rejected, reason: "closed") }
    return RequestStatus(state: .standby)
  }

  /// Whether this may be told to the user with this key.
  package func concerns(_ user: String) -> Bool { owner == nil || owner == user }

  /// A place that Redis lost with the line, or gave to somebody else after it had lost its last writes.
  package static let lostPlace = RequestStatus(state: .rejected, reason: "queue_lost")
  package var isLostPlace: Bool { state == .rejected && reason == Self.lostPlace.reason }

  /// Whether nothing can change any more.
  package var isTerminal: Bool { state.isTerminal(hasHold: deadline != nil) }
}
