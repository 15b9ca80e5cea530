import EventLoop
import Redis
package import Sale
import StoreCommon

/// Payments that were given up, and are authorised after all.
extension QueueStore {
  package enum LateAnswer: Sendable {
    /// It is under way, or another one is, or the owner of the seats will decide.
    case underWay
    /// It buys nothing: the seats are somebody else's, or the sale is over.
    case refused
    /// Its buyer has begun something else, or let go of it, or its line is gone.
    case moved
  }

  /// Says that an attempt that was given up is authorised after all. Repeated, it changes nothing that was decided.
  ///
  /// Who has their hold still has paid for it. Where the hold has ended the owner of the seats decides, behind those in line.
  package func offerLate(_ key: PurchaseKey, _ progress: PurchaseProgress, payment: String)
    async throws -> LateAnswer
  {
    do {
      let answer = try await call(
        "onsale_offer_late", key.event,
        [
          .integer(key.position), .integer(progress.attempt), .integer(key.generation), .text(payment),
          .text(progress.method), .text(progress.user),
        ])
      switch answer.first?.text {
      case "ok": return .underWay
      case "refused": return .refused
      default: return .moved
      }
    } catch let error as StoreError where error.code == .noQueue {
      return .moved
    }
  }

  /// The payment of an attempt that was given up is let go of: the owner of the seats is not asked about it any more.
  /// Repeated, it changes nothing.
  /// - Parameter tells: whether its buyer is told that it came too late.
  package func dropLate(_ key: PurchaseKey, attempt: Int, tells: Bool) async throws {
    do {
      _ = try await call(
        "onsale_drop_late", key.event,
        [.integer(key.position), .integer(attempt), .integer(key.generation), tells ? "1" : "0"])
    } catch let error as StoreError where error.code == .noQueue {
      return  // so is whoever would be asked
    }
  }

  /// Payments that wait for the owner of the seats, and which attempt to pay each is of; at most as many as may wait.
  package func lateAttempts(event: Int) async throws -> [Int: Int] {
    let fields = try await redis.command(["HGETALL", .text(EventKeys(event).late)]).array ?? []
    return Self.fields(fields).reduce(into: [:]) { attempts, field in
      guard let position = Int(field.key) else { return }
      attempts[position] = Int(field.value.prefix { $0 != "|" }) ?? 0
    }
  }

  /// What becomes of a payment that came late.
  package enum LateDecision: Sendable, Equatable {
    /// The seats are its buyer's.
    case same
    /// These are, in their place, which will do: said of this attempt, and of no later one.
    case others([Int], attempt: Int)
    /// None are, and its buyer is told so.
    case refused
    /// PostgreSQL has gone on since: whoever did that tells of it.
    case moved

    fileprivate var text: String {
      switch self {
      case .same: "1"
      case .others(let tickets, let attempt): "t\(attempt):\(QueueStore.text(tickets))"
      case .refused: "0"
      case .moved: "m"
      }
    }
  }

  /// Decides payments that came late: whose seats are free gets them, and pays for them; the others are told so.
  /// - Returns: those who do not get any, be it that they have gone on since; `nil` while the owner's map is too old to say.
  package func settleLate(
    event: Int, epoch: Int, load: Int, _ decisions: [(position: Int, decision: LateDecision)]
  ) async throws -> [Int]? {
    let answer = try await call(
      "onsale_settle_late", event,
      [Self.fence(epoch, load)]
        + decisions.flatMap { [.integer($0.position), .text($0.decision.text)] })
    return answer[0].text == "conflict" ? nil : Self.tickets(answer.count > 1 ? answer[1].text ?? "" : "")
  }
}

extension OtherSeats {
  /// As an entry of the stream has it.
  init(field: String) {
    self = field == "1" ? .agreed : field == "n" ? .notApplicable : .notAgreed
  }

  var field: String {
    switch self {
    case .agreed: "1"
    case .notApplicable: "n"
    case .notAgreed: ""
    }
  }
}
