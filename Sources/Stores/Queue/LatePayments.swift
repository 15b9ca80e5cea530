package import EventLoop
import Redis
package import Sale
import StoreCommon

/// Payments that were given up, and are authorised after all. The owner of the seats decides them (`OwnedQueue.settleLate`).
@LoopActor
package struct LatePayments {
  let store: QueueStore

  package enum Answer: Sendable {
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
  package func offer(_ key: PurchaseKey, _ progress: PurchaseProgress, payment: String)
    async throws -> Answer
  {
    do {
      let answer = try await store.call(
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
  package func drop(_ key: PurchaseKey, attempt: Int, tells: Bool) async throws {
    do {
      _ = try await store.call(
        "onsale_drop_late", key.event,
        [.integer(key.position), .integer(attempt), .integer(key.generation), tells ? "1" : "0"])
    } catch let error as StoreError where error.code == .noQueue {
      return  // so is whoever would be asked
    }
  }

  /// Payments that wait for the owner of the seats, and which attempt to pay each is of; at most as many as may wait.
  package func attempts(event: Int) async throws -> [Int: Int] {
    let fields = try await store.redis.command(["HGETALL", .text(EventKeys(event).late)]).array ?? []
    return QueueStore.fields(fields).reduce(into: [:]) { attempts, field in
      guard let position = Int(field.key) else { return }
      attempts[position] = Int(field.value.prefix { $0 != "|" }) ?? 0
    }
  }
}
