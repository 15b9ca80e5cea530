import EventLoop
import Redis
import Sale

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
  package func offerLate(_ key: PurchaseStore.Key, _ progress: PurchaseStore.Progress, payment: String)
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
  package func dropLate(_ key: PurchaseStore.Key, attempt: Int, tells: Bool) async throws {
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

  /// Positions whose payments came late, the first in line first, at most so many.
  package func latePayments(event: Int) async throws -> [Int] {
    let names = try await redis.command(["HKEYS", .text(EventKeys(event).late)]).array ?? []
    return names.compactMap { $0.text.flatMap { Int($0) } }.sorted()
  }

  /// Decides payments that came late: whose seats are free gets them, and pays for them; the others are told so.
  /// - Parameter decisions: whether the seats are the buyer's.
  /// - Returns: those who do not get them, be it that they have gone on since; `nil` while the owner's map is too old to say.
  package func settleLate(event: Int, epoch: Int, load: Int, _ decisions: [(position: Int, isFree: Bool)])
    async throws -> [Int]?
  {
    let answer = try await call(
      "onsale_settle_late", event,
      [Self.fence(epoch, load)] + decisions.flatMap { [.integer($0.position), $0.isFree ? "1" : "0"] })
    return answer[0].text == "conflict" ? nil : Self.tickets(answer.count > 1 ? answer[1].text ?? "" : "")
  }
}
