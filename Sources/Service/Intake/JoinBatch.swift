import EventLoop
import HTTPServer
import Queue
import Sale

/// Somebody who wants a place, until they are answered.
@LoopActor
final class Join: HeldRequest {
  let wish: Intake.Wish
  let joining: BuyersLine.Joining
  private let batch: JoinBatch
  private(set) var reply: HTTPReply?

  init(_ wish: Intake.Wish, _ seats: RequestedSeats, _ batch: JoinBatch) {
    self.wish = wish
    self.batch = batch
    joining = BuyersLine.Joining(
      user: wish.user, seats: seats, method: wish.method, client: wish.client, maxAmount: wish.maxAmount,
      idempotencyKey: wish.idempotencyKey)
  }

  func begin(_ reply: HTTPReply) {
    self.reply = reply
    batch.add(self)
  }
}

/// Those who asked for a place in this turn of the loop, by event, in the order in which they came. They go on together at
/// its end: under load many at a time, and whoever is alone waits for nobody.
///
/// Bounded by what the server has under way.
@LoopActor
final class JoinBatch: TurnEnd {
  private var waiting: [Int: [Join]] = [:]
  private let take: @LoopActor (_ joins: [Join], _ event: Int) -> Void

  /// - Parameter take: gets at most `BuyersLine.joinsAtOnce` at a time.
  init(take: @escaping @LoopActor (_ joins: [Join], _ event: Int) -> Void) { self.take = take }

  func add(_ join: Join) {
    if waiting.isEmpty { EventLoop.shared.atEndOfTurn(self) }
    waiting[join.wish.event, default: []].append(join)
  }

  func turnEnds() {
    let events = waiting
    waiting = [:]
    for (event, joins) in events {
      for start in stride(from: 0, to: joins.count, by: BuyersLine.joinsAtOnce) {
        take(Array(joins[start..<min(start + BuyersLine.joinsAtOnce, joins.count)]), event)
      }
    }
  }
}
