package import Sale

/// One thing that does not fit, and what it is about.
package struct Finding: Sendable, Equatable {
  package let kind: FindingKind
  package let event: Int
  package var generation: Int?
  package var position: Int?
  package var ticket: Int?
  package var paymentID: String?
  /// What was seen where, for a person.
  package let detail: String

  package init(
    _ kind: FindingKind, event: Int, generation: Int? = nil, position: Int? = nil, ticket: Int? = nil,
    paymentID: String? = nil, _ detail: String
  ) {
    self.kind = kind
    self.event = event
    self.generation = generation
    self.position = position
    self.ticket = ticket
    self.paymentID = paymentID
    self.detail = detail
  }

  package init(
    _ kind: FindingKind, _ key: PurchaseKey, ticket: Int? = nil, paymentID: String? = nil,
    _ detail: String
  ) {
    self.init(
      kind, event: key.event, generation: key.generation, position: key.position, ticket: ticket,
      paymentID: paymentID, detail)
  }

  /// The request it is about.
  package var key: PurchaseKey? {
    guard let generation, let position else { return nil }
    return PurchaseKey(event: event, generation: generation, position: position)
  }

  /// What makes a finding of two passes the same one. The words count only where nothing narrower than the event
  /// is named: numbers that move are work under way.
  package struct Identity: Hashable, Sendable {
    let kind: FindingKind
    let event: Int
    let generation: Int?
    let position: Int?
    let ticket: Int?
    let paymentID: String?
    let detail: String?
  }

  package var identity: Identity {
    Identity(
      kind: kind, event: event, generation: generation, position: position, ticket: ticket,
      paymentID: paymentID,
      detail: position == nil && ticket == nil ? detail : nil)
  }
}

/// Findings of one pass: all of them are counted, and of each kind the first `kept` are kept.
package struct Findings: Sendable {
  /// Enough to see a pattern and to repair in rounds, and bounded however broken the stores are.
  package static let keptPerKind = 10_000

  package private(set) var kept: [Finding] = []
  package private(set) var counts: [FindingKind: Int] = [:]

  package init() {}

  package mutating func add(_ finding: Finding) {
    counts[finding.kind, default: 0] += 1
    if counts[finding.kind, default: 0] <= Self.keptPerKind { kept.append(finding) }
  }

  package mutating func add(_ other: Findings) {
    for (kind, count) in other.counts {
      let room = Self.keptPerKind - min(Self.keptPerKind, counts[kind] ?? 0)
      kept += other.kept.filter { $0.kind == kind }.prefix(room)
      counts[kind, default: 0] += count
    }
  }

  /// Those that `earlier` had too: what comes and goes is work under way, not damage.
  package func alsoIn(_ earlier: Findings) -> Findings {
    let known = Set(earlier.kept.map(\.identity))
    var both = Findings()
    for finding in kept where known.contains(finding.identity) { both.add(finding) }
    // Beyond what is kept nobody can be told apart; such numbers are not work under way.
    for (kind, count) in counts
    where count > Self.keptPerKind && (earlier.counts[kind] ?? 0) > Self.keptPerKind {
      both.counts[kind] = count
    }
    return both
  }

  package var isEmpty: Bool { counts.isEmpty }
  package var violations: Int { counts.reduce(0) { $0 + ($1.key.isViolation ? $1.value : 0) } }
}
