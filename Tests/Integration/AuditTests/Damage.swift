import Audit
import EventLoop
import Ledger
import Payments
import Postgres
import Sale
import StoreCommon
import Testing

@testable import Queue

/// One way in which the stores can be broken: what is done to them, what the audit must say, and whether it can
/// settle it.
struct Damage: CustomTestStringConvertible, Sendable {
  let name: String
  let finds: Set<FindingKind>
  let isRepairable: Bool
  let corrupt: @LoopActor @Sendable (AuditFixture) async throws -> Void

  init(
    _ name: String, finds: Set<FindingKind>, repairable: Bool,
    _ corrupt: @escaping @LoopActor @Sendable (AuditFixture) async throws -> Void
  ) {
    self.name = name
    self.finds = finds
    isRepairable = repairable
    self.corrupt = corrupt
  }

  var testDescription: String { name }

  static let all: [Damage] = sales + money + told + forgotten + places + seats + owners

  private static let sales: [Damage] = [
    Damage(
      "a sold ticket is not marked", finds: [.ticketNotDelivered, .countsWrong],
      repairable: true
    ) {
      try await $0.sell("ann", [1, 2])
      try await $0.sql("UPDATE ticket SET purchased = false, payment_id = NULL WHERE id = 2")
    },
    Damage("a sold ticket has lost its claim", finds: [.ticketNotDelivered], repairable: true) {
      try await $0.sell("ann", [1, 2])
      try await $0.sql("DELETE FROM claim WHERE ticket_id = 1")
    },
    Damage(
      "a ticket is sold twice",
      finds: [.ticketSoldTwice, .ticketNotDelivered, .ticketWithoutSale, .claimWithoutPurchase],
      repairable: false
    ) {
      let first = try await $0.sell("ann", [1])
      let second = try await $0.sell("bob", [2])
      try await $0.sql("UPDATE purchase SET tickets = '{1}' WHERE position = \(second.position)")
      try await $0.setRecord(second.position, "P|1|0|1000|1||\(UserKey("bob").text)")
      _ = first
    },
    Damage(
      "a ticket is marked and nobody bought it", finds: [.ticketWithoutSale, .countsWrong, .bitmapWrong],
      repairable: false
    ) {
      try await $0.sql("UPDATE ticket SET purchased = true, payment_id = 'pi_x' WHERE id = 5")
    },
    Damage("a claim is left of a declined purchase", finds: [.claimWithoutPurchase], repairable: true) {
      let sold = try await $0.sell("ann", [1])
      _ = sold
      try await $0.sql("INSERT INTO claim VALUES (\(AuditFixture.event), 9, 1, 999)")
    },
    Damage(
      "a purchase costs another amount", finds: [.wrongPrice, .capturedWrongAmount, .toldOtherwise],
      repairable: false
    ) {
      let sold = try await $0.sell("ann", [1])
      try await $0.sql("UPDATE purchase SET amount = 5 WHERE position = \(sold.position)")
    },
    Damage("somebody has other seats, and did not agree", finds: [.otherSeatsUnasked], repairable: false) {
      let sold = try await $0.sell("ann", [1])
      try await $0.sql("UPDATE purchase SET instead_of = '{2}' WHERE position = \(sold.position)")
    },
    Damage("a user's tickets are counted wrongly in PostgreSQL", finds: [.buyerMiscounted], repairable: true)
    {
      try await $0.sell("ann", [1, 2])
      try await $0.sell("bob", [3])
      try await $0.sql("UPDATE buyer SET tickets = 1 WHERE user_id = 'ann'")
      try await $0.sql("DELETE FROM buyer WHERE user_id = 'bob'")
    },
    Damage(
      "a user has more than the limit", finds: [.overUserLimit, .ownedMiscounted, .buyerMiscounted],
      repairable: false
    ) {
      try await $0.sell("ann", [1, 2, 3])
      let more = try await $0.sell("bob", [4, 5])
      try await $0.sql("UPDATE purchase SET user_id = 'ann' WHERE position = \(more.position)")
      try await $0.setRecord(more.position, "P|1|0|2000|4,5||\(UserKey("ann").text)")
    },
  ]

  private static let money: [Damage] = [
    Damage("captured without a purchase", finds: [.captureWithoutPurchase], repairable: false) {
      $0.provider.add(
        "pi_z", .succeeded, captured: AuditFixture.price, reference: "\(AuditFixture.event)-1-77-1")
    },
    Damage(
      "captured for an event that PostgreSQL does not have", finds: [.captureWithoutPurchase],
      repairable: false
    ) {
      $0.provider.add("pi_z", .succeeded, captured: AuditFixture.price, reference: "777-1-5-1")
    },
    Damage(
      "captured twice for one request", finds: [.capturedTwice, .captureWithoutPurchase], repairable: false
    ) {
      let sold = try await $0.sell("ann", [1])
      $0.provider.add(
        "pi_z", .succeeded, captured: AuditFixture.price,
        reference: "\(AuditFixture.event)-1-\(sold.position)-2")
    },
    Damage("captured another amount", finds: [.capturedWrongAmount], repairable: false) {
      let sold = try await $0.sell("ann", [1])
      $0.provider.payments[sold.payment]?.amountCaptured = 1
    },
    Damage("sold, and the provider has no payment", finds: [.saleWithoutPayment], repairable: false) {
      let sold = try await $0.sell("ann", [1])
      $0.provider.payments[sold.payment] = nil
    },
    Damage("sold, and the payment was cancelled", finds: [.saleWithoutPayment], repairable: false) {
      let sold = try await $0.sell("ann", [1])
      $0.provider.payments[sold.payment]?.status = .canceled
    },
    Damage("sold, and never captured", finds: [.saleNotCaptured], repairable: true) {
      let sold = try await $0.sell("ann", [1])
      $0.provider.payments[sold.payment]?.status = .requiresCapture
      $0.provider.payments[sold.payment]?.amountCaptured = 0
      try await $0.sql(
        "UPDATE purchase SET captured_at = NULL, updated_at = now() - interval '1 h' WHERE tickets = '{1}'")
    },
    Damage("captured, and not noted", finds: [.captureNotNoted], repairable: true) {
      try await $0.sell("ann", [1])
      try await $0.sql(
        "UPDATE purchase SET captured_at = NULL, updated_at = now() - interval '1 h' WHERE tickets = '{1}'")
    },
    Damage("given back at the provider, and not known", finds: [.refundedOtherwise], repairable: false) {
      let sold = try await $0.sell("ann", [1])
      $0.provider.giveBack(sold.payment, 300)
    },
    Damage(
      "one refund was made twice, and is known once", finds: [.refundedOtherwise, .refundedTwice],
      repairable: false
    ) {
      let (sold, id) = try await $0.sellAndGiveBack("ann", [1, 2], provider: "re_1")
      $0.provider.giveBack(sold.payment, AuditFixture.price, id: "re_1", reference: id)
      $0.provider.giveBack(sold.payment, AuditFixture.price, id: "re_2", reference: id)
    },
    Damage(
      "more was given back than was paid, and all of it is known", finds: [.refundedTooMuch],
      repairable: false
    ) {
      let (sold, id) = try await $0.sellAndGiveBack("ann", [1, 2], amount: 2_500, provider: "re_1")
      $0.provider.giveBack(sold.payment, 2_500, id: "re_1", reference: id)
    },
    Damage("a refund is told, and was not made", finds: [.refundedOtherwise], repairable: false) {
      _ = try await $0.sellAndGiveBack("ann", [1, 2], provider: "re_1")
    },
    Damage(
      "a refund was made, and is told to have failed", finds: [.refundedOtherwise, .refundDead],
      repairable: false
    ) {
      let sold = try await $0.sell("ann", [1])
      let id = try await $0.noteRefund(sold.position, AuditFixture.price, state: "failed")
      $0.provider.giveBack(sold.payment, AuditFixture.price, reference: id)
    },
    Damage(
      "one refund was made and not told, another told and not made, for the same amount",
      finds: [.refundedOtherwise], repairable: false
    ) {
      let (sold, _) = try await $0.sellAndGiveBack("ann", [1, 2], provider: "re_1")
      $0.provider.giveBack(sold.payment, AuditFixture.price, id: "re_2")
    },
    Damage("a refund has failed for good", finds: [.refundDead], repairable: false) {
      let sold = try await $0.sell("ann", [1])
      _ = try await $0.noteRefund(sold.position, AuditFixture.price, state: "failed")
    },
    Damage("a ticket was taken back, and its money kept", finds: [.moneyKept], repairable: false) {
      let (_, id) = try await $0.sellAndGiveBack("ann", [1, 2], provider: "re_1")
      try await $0.sql("DELETE FROM refund WHERE id = \(id)::uuid")
      try await $0.sql("UPDATE purchase SET refunded = 0 WHERE tickets = '{2}'")
    },
    Damage("said to be given back, and it was not", finds: [.refundedOtherwise], repairable: false) {
      try await $0.sell("ann", [1])
      try await $0.sql("UPDATE purchase SET charged = amount, refunded = 300 WHERE tickets = '{1}'")
    },
    Damage("disputed at the provider, and not known", finds: [.disputeUnknown], repairable: false) {
      let sold = try await $0.sell("ann", [1])
      $0.provider.disputed = [
        Dispute(id: "du_1", payment: sold.payment, amount: 1000, reason: "fraudulent", status: "lost")
      ]
    },
    Damage("money is reserved for nobody", finds: [.authorisationOpen], repairable: true) {
      $0.provider.add("pi_z", .requiresCapture, reference: "\(AuditFixture.event)-1-77-1")
    },
    Damage("money is reserved for a declined purchase", finds: [.authorisationOpen], repairable: true) {
      let sold = try await $0.sell("ann", [1])
      $0.provider.add("pi_z", .requiresCapture, reference: "\(AuditFixture.event)-1-\(sold.position)-3")
    },
    Damage("a capture is due for long", finds: [.choreOverdue], repairable: false) {
      let sold = try await $0.sell("ann", [1])
      try await $0.sql(
        """
        INSERT INTO outbox VALUES (\(AuditFixture.event), 1, \(sold.position), 'capture', \(sold.payment), 3,
          now() - interval '1 h')
        """)
    },
  ]

  private static let told: [Damage] = [
    Damage("sold, and told that it expired", finds: [.saleNotTold], repairable: true) {
      let sold = try await $0.sell("ann", [1])
      try await $0.setRecord(sold.position, "X|1|0|1000|1||\(UserKey("ann").text)")
      try await $0.redis("HDEL", "\($0.prefix)u:\(UserKey("ann").text.prefix(2))", UserKey("ann").text)
    },
    Damage(
      "sold, and the stream's last step is lost", finds: [.saleNotTold],
      repairable: true
    ) {
      let confirmation = try await $0.begin("ann", [1])
      _ = try await $0.purchases.claim([confirmation])
      let payment = try await $0.authorise(confirmation)
      _ = try await $0.purchases.settle([
        PurchaseStore.Settlement(
          key: PurchaseKey(confirmation), attempt: 1, outcome: .sold, paymentID: payment, reason: "")
      ])
      _ = try await $0.provider.capture(payment, reference: payment)
      try await $0.purchases.done([
        OutboxEntry(key: PurchaseKey(confirmation), kind: .capture, paymentID: payment)
      ])
      try await $0.publish()
      try await $0.loseEntries()
    },
    Damage(
      "told that it is bought, and nothing is sold",
      finds: [
        .toldWithoutSale, .holdIndexStale, .lockWithoutHold, .placeStale, .ownedMiscounted, .bitmapWrong,
        .countsWrong,
      ], repairable: true
    ) {
      let position = try await $0.hold("ann", [1])
      try await $0.setRecord(position, "P|1|0|1000|1||\(UserKey("ann").text)")
    },
    Damage("sold, and its place was given out again", finds: [.placeGivenTwice], repairable: true) {
      let sold = try await $0.sell("ann", [1])
      try await $0.setRecord(sold.position, "X|1|0|1000|1|queue_lost|\(UserKey("bob").text)")
      try await $0.redis("HDEL", "\($0.prefix)u:\(UserKey("ann").text.prefix(2))", UserKey("ann").text)
    },
    Damage("sold, and its place is another's in line", finds: [.placeGivenTwice], repairable: true) {
      let sold = try await $0.sell("ann", [1])
      let position = sold.position, ann = UserKey("ann").text, bob = UserKey("bob").text
      try await $0.redis("HDEL", "\($0.prefix)r:\(position / 100)", "\(position % 100)")
      try await $0.redis("HDEL", "\($0.prefix)u:\(ann.prefix(2))", ann)
      try await $0.redis("HSET", "\($0.prefix)u:\(bob.prefix(2))", bob, "\(position).1")
      try await $0.redis("HSET", "\($0.prefix)m", "head", "\(position - 1)")
      try await $0.redis("DEL", "\($0.prefix)q:1")
      try await $0.redis("XADD", "\($0.prefix)q:1", "\(position)-\(position)", "u", "bob")
      try await $0.redis("SADD", "\($0.prefix)ka", "1")
    },
    Damage("told other tickets than were sold", finds: [.toldOtherwise], repairable: true) {
      let sold = try await $0.sell("ann", [1])
      try await $0.setRecord(sold.position, "P|1|0|1000|2||\(UserKey("ann").text)")
    },
    Damage("a payment that nobody will end, of no purchase", finds: [.confirmationLost], repairable: true) {
      _ = try await $0.begin("ann", [1])
      try await $0.loseEntries()
    },
    Damage(
      "a payment that nobody will end, declined in PostgreSQL", finds: [.confirmationLost], repairable: true
    ) {
      let confirmation = try await $0.begin("ann", [1])
      _ = try await $0.purchases.claim([confirmation])
      _ = try await $0.purchases.settle([
        PurchaseStore.Settlement(
          key: PurchaseKey(confirmation), attempt: 1, outcome: .declined, paymentID: nil,
          reason: "card_declined")
      ])
      try await $0.loseEntries()
    },
    Damage(
      "an entry waits in the stream for long", finds: [.confirmationStuck, .paymentStalled], repairable: false
    ) {
      let confirmation = try await $0.begin("ann", [1])
      _ = try await $0.purchases.claim([confirmation])
      try await $0.sql("UPDATE purchase SET updated_at = now() - interval '1 h'")
      try await $0.makeEntriesOld()
    },
    Damage("a dead letter", finds: [.deadLetter], repairable: false) {
      let confirmation = try await $0.begin("ann", [1])
      try await $0.queue.deadLetters.bury(confirmation, reason: "test")
    },
  ]

  private static let forgotten: [Damage] = [
    Damage(
      "PostgreSQL has lost a purchase",
      finds: [.toldWithoutSale, .captureWithoutPurchase, .bitmapWrong, .countsWrong], repairable: true
    ) {
      try await $0.sell("ann", [1, 2])
      try await $0.losePurchase([1, 2])
    },
    Damage(
      "PostgreSQL has lost a purchase, whose money is only reserved",
      finds: [.toldWithoutSale, .authorisationOpen, .bitmapWrong, .countsWrong], repairable: true
    ) {
      let sold = try await $0.sell("ann", [1])
      try await $0.losePurchase([1])
      $0.provider.payments[sold.payment]?.status = .requiresCapture
      $0.provider.payments[sold.payment]?.amountCaptured = 0
    },
    Damage(
      "PostgreSQL has lost a purchase, and Redis its record",
      finds: [
        .captureWithoutPurchase, .saleForgotten, .requestLost, .ownedMiscounted, .bitmapWrong, .countsWrong,
      ], repairable: false
    ) {
      let sold = try await $0.sell("ann", [1])
      try await $0.losePurchase([1])
      try await $0.redis("HDEL", "\($0.prefix)r:\(sold.position / 100)", "\(sold.position % 100)")
    },
    Damage("a ticket was sold once, and nobody knows to whom", finds: [.saleForgotten], repairable: true) {
      try await $0.redis("SETBIT", "\($0.prefix)o", "8", "1")
    },
  ]

  private static let places: [Damage] = [
    Damage("an accepted request is gone", finds: [.requestLost, .placeStale], repairable: false) {
      let position = try await $0.join("ann")
      try await $0.redis("XDEL", "\($0.prefix)q:1", "\(position)-\(position)")
    },
    Damage(
      "the record of one that was decided before the line was sold out is gone", finds: [.requestLost],
      repairable: false
    ) {
      let position = try await $0.join("ann")
      try await $0.decide(position, "ann", .refused(Refusal(reason: "x")))
      try await $0.redis(
        "HSET", "\($0.prefix)m", "sold_out_up_to", "\(position)", "decided_up_to", "\(position)")
      try await $0.redis("HDEL", "\($0.prefix)r:\(position / 100)", "\(position % 100)")
    },
    Damage(
      "a request is decided and still in line", finds: [.requestTwice, .decidedBeyondHead, .placeStale],
      repairable: false
    ) {
      let position = try await $0.join("ann")
      try await $0.setRecord(position, "J|0|0|0||x|\(UserKey("ann").text)")
    },
    Damage("the head has passed somebody", finds: [.passedOver], repairable: false) {
      // Nobody is told so: the line has no mark.
      _ = try await $0.join("ann")
      let second = try await $0.join("bob")
      try await $0.decide(second, "bob", .granted(tickets: [1], amount: AuditFixture.price))
    },
    Damage("somebody got seats beyond the head", finds: [.decidedBeyondHead], repairable: false) {
      _ = try await $0.hold("ann", [1])
      try await $0.redis("HSET", "\($0.prefix)m", "head", "0")
    },
    Damage("a record of a position that nobody got", finds: [.requestUnknown], repairable: false) {
      _ = try await $0.join("ann")
      try await $0.setRecord(50, "L|0|0|0|||\(UserKey("bob").text)")
    },
    Damage(
      "a record that nobody can read", finds: [.recordUnreadable, .requestLost, .placeStale],
      repairable: false
    ) {
      let position = try await $0.join("ann")
      try await $0.decide(position, "ann", .refused(Refusal(reason: "x")))
      let other = try await $0.join("bob")
      try await $0.redis("XDEL", "\($0.prefix)q:1", "\(other)-\(other)")
      try await $0.setRecord(other, "what is this")
    },
    Damage("a user could take a second place", finds: [.placeNotLinked], repairable: false) {
      _ = try await $0.join("ann")
      try await $0.redis("HDEL", "\($0.prefix)u:\(UserKey("ann").text.prefix(2))", UserKey("ann").text)
    },
    Damage("a user is kept by a request that has ended", finds: [.placeStale], repairable: false) {
      let position = try await $0.join("ann")
      try await $0.decide(position, "ann", .refused(Refusal(reason: "x")))
      try await $0.redis(
        "HSET", "\($0.prefix)u:\(UserKey("ann").text.prefix(2))", UserKey("ann").text, "\(position):0")
    },
    Damage("a user's tickets are miscounted", finds: [.ownedMiscounted], repairable: false) {
      try await $0.sell("ann", [1])
      try await $0.redis("HSET", "\($0.prefix)u:\(UserKey("ann").text.prefix(2))", UserKey("ann").text, "0:4")
    },
  ]

  private static let seats: [Damage] = [
    Damage("a hold does not end", finds: [.holdOverdue], repairable: false) {
      let position = try await $0.hold("ann", [1])
      let past = try await $0.queue.reader.milliseconds(of: Partition(of: AuditFixture.event)) - 60_000
      try await $0.setRecord(position, "R|0|\(past)|1000|1||\(UserKey("ann").text)")
      try await $0.redis("ZADD", "\($0.prefix)x", "\(past)", "\(position)")
    },
    Damage("a hold is not in the index of deadlines", finds: [.holdNotIndexed], repairable: true) {
      let position = try await $0.hold("ann", [1])
      try await $0.redis("ZREM", "\($0.prefix)x", "\(position)")
    },
    Damage(
      "a late payment that was let go of waits for the owner", finds: [.latePaymentStale], repairable: true
    ) {
      let hold = try await $0.hold("ann", [1])
      try await $0.redis("HSET", "\($0.prefix)late", "\(hold)", "1|pi_x|pm_x|ann")
      try await $0.sql(
        """
        INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method, reason)
        VALUES (\(AuditFixture.event), 1, \(hold), 'ann', 'declined', 1, '{1}', 1000, 'EUR', 'x', 'too_late')
        """)
    },
    Damage("the index names a request that holds nothing", finds: [.holdIndexStale], repairable: false) {
      let position = try await $0.join("ann")
      try await $0.redis("ZADD", "\($0.prefix)x", "9999999999999", "\(position)")
    },
    Damage("a ticket is held for two", finds: [.ticketHeldTwice, .lockMissing], repairable: false) {
      _ = try await $0.hold("ann", [1])
      let second = try await $0.hold("bob", [2])
      let deadline = try #require(try await $0.record(second)).deadline
      try await $0.setRecord(second, "R|0|\(deadline)|1000|1||\(UserKey("bob").text)")
      try await $0.redis("DEL", "\($0.prefix)l:2")
      try await $0.publish()
    },
    Damage("a held ticket is not locked", finds: [.lockMissing], repairable: false) {
      _ = try await $0.hold("ann", [1])
      try await $0.redis("DEL", "\($0.prefix)l:1")
    },
    Damage("a ticket is locked for nobody", finds: [.lockWithoutHold], repairable: true) {
      _ = try await $0.join("ann")
      try await $0.redis("SET", "\($0.prefix)l:7", "1")
    },
    Damage("a sold ticket is held for another", finds: [.ticketHeldAndSold], repairable: false) {
      try await $0.sell("ann", [1])
      _ = try await $0.hold("bob", [1])
    },
    Damage("the bitmap shows a sold ticket as available", finds: [.bitmapWrong], repairable: true) {
      try await $0.sell("ann", [1])
      try await $0.redis("SETBIT", "\($0.prefix)b", "1", "0")
    },
    Damage("the bitmap hides a free ticket", finds: [.bitmapWrong], repairable: true) {
      try await $0.redis("SETBIT", "\($0.prefix)b", "8", "1")
    },
    Damage("the published counts are wrong", finds: [.countsWrong], repairable: true) {
      try await $0.redis("HSET", "\($0.prefix)m", "free", "3")
    },
  ]

  private static let owners: [Damage] = [
    Damage("Redis accepts an epoch from nowhere", finds: [.epochAhead], repairable: true) {
      try await $0.redis("SET", "{p\($0.partition.number)}:epoch", "7")
    },
    Damage("no worker is alive", finds: [.partitionUnowned], repairable: false) {
      try await $0.redis("DEL", "{p\($0.partition.number)}:lease")
    },
    Damage("Redis has lost the queue", finds: [.queueMissing, .queueUnknown], repairable: false) {
      try await $0.redis("DEL", "\($0.prefix)m")
      try await $0.redis("SADD", "{p\($0.partition.number)}:events", "58")
    },
    Damage("Redis has other settings", finds: [.settingsDiffer], repairable: true) {
      try await $0.redis("HSET", "\($0.prefix)m", "per_user_limit", "9")
    },
  ]
}
