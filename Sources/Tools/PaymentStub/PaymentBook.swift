/// All payments, refunds and idempotency keys: what the ledger's records add up to.
///
/// Pure: applying the same records gives the same book, while running and after a restart.
struct PaymentBook {
  /// What a request was answered, kept under its key.
  struct Answer {
    let status: Int
    let subject: Subject
  }

  enum Subject {
    /// The intent at this index, as it was then.
    case intent(Int, PaymentIntent.State)
    case refund(Int)
    case none
  }

  /// A record that does not fit what came before it.
  struct Inconsistent: Error {}

  /// Oldest first.
  private(set) var intents: [PaymentIntent] = []
  private(set) var refunds: [Refund] = []
  private(set) var disputes: [Dispute] = []
  private(set) var keys: [String: (fingerprint: UInt64, answer: Answer)] = [:]
  private(set) var records = 0
  private var intentIndex: [String: Int] = [:]
  private var refundIndex: [String: Int] = [:]
  private var refundsByIntent: [Int: [Int]] = [:]
  private var disputeIndex: [String: Int] = [:]
  /// Intents by the hash of one metadata name and value; what is found is compared.
  private var metadataIndex: [Int: [Int32]] = [:]

  /// Requests under keys of before are taken for new ones.
  mutating func forgetKeys() { keys = [:] }

  func index(of id: String) -> Int? { intentIndex[id] }
  func refundIndex(of id: String) -> Int? { refundIndex[id] }
  func disputeIndex(of id: String) -> Int? { disputeIndex[id] }

  func refunds(ofIntentAt index: Int) -> [Int] { refundsByIntent[index] ?? [] }

  func refunded(intentAt index: Int) -> Int {
    refunds(ofIntentAt: index).reduce(0) { $0 + (refunds[$1].status == "failed" ? 0 : refunds[$1].amount) }
  }

  /// Indices of intents with this metadata, oldest first.
  func find(metadata name: String, _ value: String) -> [Int] {
    (metadataIndex[Self.hash(name, value)] ?? []).map { Int($0) }.filter {
      intents[$0].metadata[name] == value
    }
  }

  /// Applies a record and returns what its request is answered.
  @discardableResult
  mutating func apply(_ record: LedgerRecord) throws(Inconsistent) -> Answer {
    let subject: Subject
    switch record.change {
    case .created(let intent):
      guard intentIndex[intent.id] == nil else { throw Inconsistent() }
      let index = intents.count
      intents.append(intent)
      intentIndex[intent.id] = index
      for (name, value) in intent.metadata {
        metadataIndex[Self.hash(name, value), default: []].append(Int32(index))
      }
      subject = .intent(index, intent.state)
    case .changed(let id, let state):
      guard let index = intentIndex[id] else { throw Inconsistent() }
      intents[index].state = state
      subject = .intent(index, state)
    case .refunded(let refund):
      guard let index = intentIndex[refund.intent] else { throw Inconsistent() }
      if let known = refundIndex[refund.id] {
        refunds[known] = refund
        subject = .refund(known)
        break
      }
      refundIndex[refund.id] = refunds.count
      refundsByIntent[index, default: []].append(refunds.count)
      subject = .refund(refunds.count)
      refunds.append(refund)
    case .disputed(let dispute):
      guard intentIndex[dispute.intent] != nil else { throw Inconsistent() }
      if let known = disputeIndex[dispute.id] {
        disputes[known] = dispute
      } else {
        disputeIndex[dispute.id] = disputes.count
        disputes.append(dispute)
      }
      subject = .none
    case .none: subject = .none
    }
    records += 1
    let answer = Answer(status: record.status, subject: subject)
    if let key = record.key { keys[key.name] = (key.fingerprint, answer) }
    return answer
  }

  private static func hash(_ name: String, _ value: String) -> Int {
    var hasher = Hasher()
    hasher.combine(name)
    hasher.combine(value)
    return hasher.finalize()
  }
}
