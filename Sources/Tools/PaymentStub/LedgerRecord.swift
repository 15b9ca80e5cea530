import JSON

/// One line of the ledger: a change, and the idempotency key under which its answer is kept.
struct LedgerRecord: Sendable, Equatable {
  enum Change: Sendable, Equatable {
    case created(PaymentIntent)
    case changed(id: String, PaymentIntent.State)
    /// Made, or changed since.
    case refunded(Refund)
    case disputed(Dispute)
    /// No change: a failure that is kept under a key.
    case none

    /// The payment that is processed from now on, if any.
    var processed: String? {
      switch self {
      case .created(let intent) where intent.state.status == .processing: intent.id
      case .changed(let id, let state) where state.status == .processing: id
      default: nil
      }
    }
  }

  struct Key: Sendable, Equatable {
    let name: String
    let fingerprint: UInt64
  }

  let change: Change
  /// The status that the request was answered.
  let status: Int
  let key: Key?
}

// The ledger's format: one JSON object a line, members left out where they are nil.
extension LedgerRecord {
  /// The line, with its end.
  var line: [UInt8] {
    var members: [(name: String, value: JSON)] = []
    switch change {
    case .created(let intent):
      members = [
        ("kind", "created"), ("id", .string(intent.id)), ("created", .integer(intent.created)),
        ("amount", .integer(intent.amount)), ("currency", .string(intent.currency)),
        ("manual", .bool(intent.isManual)), ("description", JSON(intent.description)),
        ("metadata", Self.object(intent.metadata)), ("return_url", JSON(intent.returnURL)),
      ]
      members += Self.members(intent.state)
    case .changed(let id, let state):
      members = [("kind", "changed"), ("id", .string(id))] + Self.members(state)
    case .refunded(let refund):
      members = [
        ("kind", "refunded"), ("id", .string(refund.id)), ("intent", .string(refund.intent)),
        ("created", .integer(refund.created)), ("amount", .integer(refund.amount)),
        ("reason", JSON(refund.reason)), ("metadata", Self.object(refund.metadata)),
        ("status", .string(refund.status)),
      ]
    case .disputed(let dispute):
      members = [
        ("kind", "disputed"), ("id", .string(dispute.id)), ("intent", .string(dispute.intent)),
        ("created", .integer(dispute.created)), ("amount", .integer(dispute.amount)),
        ("reason", .string(dispute.reason)), ("status", .string(dispute.status)),
      ]
    case .none: members = [("kind", "none")]
    }
    members.append(("answer", .integer(status)))
    if let key {
      members += [
        ("key", .string(key.name)), ("fingerprint", .integer(Int(bitPattern: UInt(key.fingerprint)))),
      ]
    }
    return JSON.object(members.filter { $0.value != .null }).serialized() + [UInt8(ascii: "\n")]
  }

  /// Reads a line without its end; `nil` if it is not a record.
  init?(line: some Sequence<UInt8>) {
    guard let json = try? JSON(parsing: Array(line)), let status = json["answer"]?.integer else { return nil }
    self.status = status
    key = json["key"]?.string.flatMap { name in
      json["fingerprint"]?.integer.map { Key(name: name, fingerprint: UInt64(UInt(bitPattern: $0))) }
    }
    guard let change = Self.change(json) else { return nil }
    self.change = change
  }

  private static func change(_ json: JSON) -> Change? {
    guard json["kind"] != "none" else { return Change.none }
    guard let id = json["id"]?.string else { return nil }
    if json["kind"] == "disputed" {
      guard let intent = json["intent"]?.string, let created = json["created"]?.integer,
        let amount = json["amount"]?.integer, let status = json["status"]?.string
      else { return nil }
      return .disputed(
        Dispute(
          id: id, intent: intent, created: created, amount: amount, reason: json["reason"]?.string ?? "",
          status: status))
    }
    if json["kind"] == "refunded" {
      guard let intent = json["intent"]?.string, let created = json["created"]?.integer,
        let amount = json["amount"]?.integer
      else { return nil }
      return .refunded(
        Refund(
          id: id, intent: intent, created: created, amount: amount, reason: json["reason"]?.string,
          metadata: dictionary(json["metadata"]), status: json["status"]?.string ?? "succeeded"))
    }
    guard let state = state(json) else { return nil }
    if json["kind"] == "changed" { return .changed(id: id, state) }
    guard let created = json["created"]?.integer, let amount = json["amount"]?.integer,
      let currency = json["currency"]?.string, let isManual = json["manual"]?.bool
    else { return nil }
    return .created(
      PaymentIntent(
        id: id, created: created, amount: amount, currency: currency, isManual: isManual,
        description: json["description"]?.string, metadata: dictionary(json["metadata"]),
        returnURL: json["return_url"]?.string, state: state))
  }

  private static func members(_ state: PaymentIntent.State) -> [(name: String, value: JSON)] {
    [
      ("status", .string(state.status.rawValue)), ("method", JSON(state.method)),
      ("received", .integer(state.received)), ("decline", JSON(state.decline)),
      ("canceled_at", JSON(state.canceledAt)), ("cancellation_reason", JSON(state.cancellationReason)),
      ("charged", .bool(state.wasCharged)),
    ]
  }

  private static func state(_ json: JSON) -> PaymentIntent.State? {
    guard let status = json["status"]?.string.flatMap(PaymentIntent.Status.init(rawValue:)) else {
      return nil
    }
    return PaymentIntent.State(
      status: status, method: json["method"]?.string, received: json["received"]?.integer ?? 0,
      decline: json["decline"]?.string, canceledAt: json["canceled_at"]?.integer,
      cancellationReason: json["cancellation_reason"]?.string, wasCharged: json["charged"]?.bool ?? false)
  }

  private static func object(_ values: [String: String]) -> JSON {
    .object(values.sorted { $0.key < $1.key }.map { (name: $0.key, value: JSON.string($0.value)) })
  }

  private static func dictionary(_ json: JSON?) -> [String: String] {
    Dictionary(
      (json?.members ?? []).compactMap { member in member.value.string.map { (member.name, $0) } },
      uniquingKeysWith: { $1 })
  }
}
