import Testing

@testable import LoadTest

@Suite("The crowd")
struct VirtualBuyersTests {
  /// An event of so many tickets at 1000 each in one section.
  private func offer(_ tickets: Int) -> TicketOffer {
    var offer = TicketOffer(event: 7, currency: "EUR", sections: ["A"])
    for ticket in 1...tickets { offer.add(ticket: ticket, price: 1_000, section: 0) }
    return offer
  }

  private func crowd(_ buyers: Int, tickets: Int = 10, _ change: (inout LoadTestOptions) -> Void = { _ in })
    -> VirtualBuyers
  {
    var options = LoadTestOptions()
    options.buyers = buyers
    options.quantity = 1...1
    change(&options)
    return VirtualBuyers(options, offer(tickets))
  }

  private func joined(_ position: Int, status: Int = 202) -> Answer {
    var answer = Answer(status: status)
    answer.requestID = Array("id-\(position)".utf8)
    answer.position = position
    answer.state = "queued"
    answer.pollAfterMilliseconds = 100
    return answer
  }

  private func state(_ state: String, tickets: [Int] = [], amount: Int? = nil, pollAfter: Int = 100) -> Answer
  {
    var answer = Answer(status: 200)
    answer.state = state
    answer.tickets = tickets
    answer.amount = amount
    answer.currency = amount == nil ? nil : "EUR"
    answer.pollAfterMilliseconds = pollAfter
    return answer
  }

  /// Answers every request by `answer` until nobody has anything to do, in steps of 50 ms.
  private func play(
    _ crowd: inout VirtualBuyers, milliseconds: Int = 60_000,
    _ answer: (VirtualBuyers.Job, _ card: String) -> Answer?
  ) {
    for now in stride(from: 0, to: milliseconds * 1000, by: 50_000) {
      while let job = crowd.next(at: now) {
        if let answer = answer(job, crowd.paymentMethod(job.buyer)) {
          crowd.answered(job, answer, at: now, unixMilliseconds: now / 1000)
        } else {
          crowd.failed(job, code: "connection_lost", at: now)
        }
      }
      if crowd.isOver { return }
    }
  }

  @Test("A buyer joins, polls, confirms, and owns the tickets")
  func purchase() {
    var crowd = crowd(1)
    var polls = 0
    play(&crowd) { job, _ in
      switch job.step {
      case .join: return joined(1)
      case .poll:
        polls += 1
        if polls == 1 { return state("queued") }
        if polls == 2 { return state("reserved", tickets: [3], amount: 1_000) }
        return state("purchased", tickets: [3], amount: 1_000)
      default: return Answer(status: 202)
      }
    }
    crowd.checkAtEnd()
    #expect(crowd.isOver)
    #expect(crowd.figures.outcomes == [.purchased: 1])
    #expect(crowd.figures.ticketsBought == 1)
    #expect(crowd.figures.amount == 1_000)
    #expect(crowd.violations.isEmpty, "\(crowd.violations)")
    #expect(crowd.figures.joinToReserved.count == 1)
    #expect(crowd.figures.confirmToPurchased.count == 1)
  }

  @Test(
    "Whoever is told that the line is lost asks for the same place again, and says so if it is another",
    arguments: [1, 2])
  func rejoin(place: Int) {
    var crowd = crowd(1) { $0.rejoins = true }
    var steps: [Step] = []
    play(&crowd) { job, _ in
      steps.append(job.step)
      switch job.step {
      case .join: return joined(1)
      case .rejoin:
        if steps.filter({ $0 == .rejoin }).count == 1 {
          var busy = Answer(status: 503)
          busy.retryAfterSeconds = 1
          return busy
        }
        return joined(place)
      case .poll:
        switch steps.filter({ $0 == .poll }).count {
        case 1: return state("reserved", tickets: [3], amount: 1_000)
        case 2:
          var lost = state("rejected", pollAfter: 0)
          lost.reason = "queue_lost"
          return lost
        case 3: return state("queued")
        case 4: return state("reserved", tickets: [4], amount: 1_000)
        default: return state("purchased", tickets: [4], amount: 1_000)
        }
      default: return Answer(status: 202)
      }
    }
    crowd.checkAtEnd()
    #expect(
      steps == [.join, .poll, .confirm, .poll, .rejoin, .rejoin, .poll, .poll, .confirm, .poll], "\(steps)")
    #expect(crowd.figures.outcomes == [.purchased: 1] && crowd.figures.accepted == 1)
    #expect(crowd.figures.returnsBySecond.reduce(0, +) == 1)
    #expect(crowd.figures.lostToBack.count == 1 && crowd.figures.lostToBack.largest >= 1_000_000)
    #expect(crowd.violations.counts == (place == 1 ? [:] : [.movedPlace: 1]), "\(crowd.violations)")
  }

  @Test(
    "A poll that came due while all connections were busy counts from then, and paying from the first press")
  func latencies() throws {
    var crowd = crowd(1)
    func answer(at now: Int, _ answer: Answer) throws -> VirtualBuyers.Job {
      let next = crowd.next(at: now)
      let job = try #require(next)
      crowd.answered(job, answer, at: now, unixMilliseconds: now / 1000)
      return job
    }
    _ = try answer(at: 0, joined(1))
    // Told to come back after 100 ms, and sent after five seconds.
    let poll = try answer(at: 5_000_000, state("reserved", tickets: [3], amount: 1_000))
    #expect(poll.step == .poll && (100_000..<110_000).contains(poll.wantedAt))
    #expect(crowd.figures.latencies["poll"]?.largest ?? 0 >= 4_890_000)
    let confirm = try answer(at: 30_000_000, Answer(status: 202))
    #expect(confirm.step == .confirm)
    _ = try answer(at: 31_000_000, state("purchased", tickets: [3], amount: 1_000))
    #expect(crowd.figures.confirmToPurchased.largest >= 31_000_000 - confirm.wantedAt - 1_000)
  }

  @Test("A promise that nothing was seen of is not called held")
  func notTried() {
    var crowd = crowd(1)
    #expect(crowd.violations.tried.isEmpty)
    play(&crowd) { job, _ in
      job.step == .join ? joined(1) : state("purchased", tickets: [3], amount: 1_000)
    }
    crowd.checkAtEnd()
    #expect(crowd.violations.tried.isSuperset(of: [.ticketOfTwo, .wrongCharge, .placeOfTwo, .figures]))
    #expect(
      crowd.violations.tried.isDisjoint(
        with: [.heldTooLong, .twoPlaces, .overtaken, .changed, .withoutRetryAfter]))
  }

  @Test("A lost connection and a full line are tried again, and counted")
  func retries() {
    var crowd = crowd(1)
    var joins = 0
    play(&crowd) { job, _ in
      guard job.step == .join else { return state("sold_out") }
      joins += 1
      if joins == 1 { return nil }
      if joins == 2 {
        var full = Answer(status: 503)
        full.code = "queue_full"
        full.retryAfterSeconds = 1
        return full
      }
      return joined(1)
    }
    #expect(joins == 3)
    #expect(crowd.figures.outcomes == [.soldOut: 1])
    #expect(crowd.figures.errors == ["join - connection_lost": 1, "join 503 queue_full": 1])
    #expect(crowd.violations.isEmpty)
  }

  @Test("A refused card is followed by a good one, or by giving up, as planned")
  func declined() {
    var crowd = crowd(40) {
      $0.declined = 1
    }
    var position = 0
    var confirms: [Int: [String]] = [:]
    var declined: Set<Int> = []
    play(&crowd) { job, card in
      switch job.step {
      case .join:
        position += 1
        return joined(position)
      case .confirm:
        confirms[job.buyer, default: []].append(card)
        return Answer(status: 202)
      default:
        let cards = confirms[job.buyer] ?? []
        if cards.isEmpty { return state("reserved", tickets: [job.buyer + 1], amount: 1_000) }
        if cards.last == "pm_card_visa" { return state("purchased", tickets: [job.buyer + 1], amount: 1_000) }
        // The second look finds the hold at its end.
        if !declined.insert(job.buyer).inserted { return state("declined", pollAfter: 0) }
        return state("declined", tickets: [job.buyer + 1], amount: 1_000)
      }
    }
    #expect(crowd.isOver)
    for buyer in 0..<40 {
      let cards = confirms[buyer]
      switch crowd.plan(buyer).card {
      case .declinedThenGood: #expect(cards == ["pm_card_visa_chargeDeclined", "pm_card_visa"])
      default: #expect(cards == ["pm_card_visa_chargeDeclined"])
      }
    }
    #expect(Set(crowd.figures.outcomes.keys) == [.purchased, .declined])
  }

  @Test("Double clicks with two places, and one place for two users, are seen")
  func places() {
    var twice = crowd(1) { $0.doubleClick = 1 }
    play(&twice) { job, _ in
      switch job.step {
      case .join: joined(1)
      case .joinAgain: joined(2)
      default: state("sold_out")
      }
    }
    twice.checkAtEnd()
    #expect(twice.violations.counts == [.twoPlaces: 1])
    var shared = crowd(2)
    play(&shared) { job, _ in job.step == .join ? joined(1) : state("sold_out") }
    shared.checkAtEnd()
    #expect(shared.violations.counts == [.placeOfTwo: 1])
  }

  @Test("A ticket of two buyers, a wrong price and wrong seats are seen")
  func tickets() {
    var crowd = crowd(2)
    var position = 0
    play(&crowd) { job, _ in
      switch job.step {
      case .join:
        position += 1
        return joined(position)
      case .poll: return state("purchased", tickets: [3], amount: job.buyer == 0 ? 1_000 : 999)
      default: return Answer(status: 202)
      }
    }
    #expect(crowd.violations.counts[.ticketOfTwo] == 1)
    #expect(crowd.violations.counts[.wrongCharge] == 2, "when granted and when bought")
    var greedy = self.crowd(1)
    play(&greedy) { job, _ in
      job.step == .join ? joined(1) : state("purchased", tickets: [3, 4], amount: 2_000)
    }
    #expect(greedy.violations.counts[.wrongSeats] == 2)
  }

  @Test("Nobody may be told sold out while a later one of the same wish gets seats")
  func order() {
    for soldOut in [1, 3] {
      var crowd = crowd(3)
      var position = 0
      play(&crowd) { job, _ in
        switch job.step {
        case .join:
          position += 1
          return joined(position)
        case .poll:
          return job.buyer + 1 == soldOut
            ? state("sold_out") : state("purchased", tickets: [job.buyer + 1], amount: 1_000)
        default: return Answer(status: 202)
        }
      }
      crowd.checkAtEnd()
      #expect(crowd.violations.counts == (soldOut == 1 ? [.overtaken: 2] : [:]))
    }
  }

  private func ended(_ reason: String, left: Int? = nil, answer: Int? = nil) -> Answer {
    var answered = state("rejected", pollAfter: 0)
    answered.reason = reason
    answered.left = left
    answered.answerWithinSeconds = answer
    return answered
  }

  @Test(
    "Nobody may be told any end of a wish while a later one of the same wish gets seats",
    arguments: ["not_together", "section_sold_out", "only_n_left"])
  func orderOfEnds(reason: String) {
    for first in [1, 3] {
      var crowd = crowd(3)
      var position = 0
      play(&crowd) { job, _ in
        if job.step == .join {
          position += 1
          return joined(position)
        }
        return job.buyer + 1 == first
          ? ended(reason, left: 0) : state("purchased", tickets: [job.buyer + 1], amount: 1_000)
      }
      crowd.checkAtEnd()
      #expect(crowd.violations.counts == (first == 1 ? [.overtaken: 2] : [:]))
      #expect(crowd.violations.tried.contains(.overtaken))
    }
    // Seats that were chosen one by one are nobody else's wish.
    var taken = crowd(2)
    play(&taken) { job, _ in
      guard job.step != .join else { return joined(job.buyer + 1) }
      return job.buyer == 0 ? ended("seats_taken") : state("purchased", tickets: [1], amount: 1_000)
    }
    taken.checkAtEnd()
    #expect(taken.violations.isEmpty)
  }

  @Test("Who wants seats side by side is not overtaken by who takes them apart")
  func orderOfOtherWishes() {
    var crowd = crowd(60, tickets: 120) {
      $0.quantity = 2...2
      $0.adjacent = 0.5
    }
    let plans = (0..<60).map { crowd.plan($0) }
    play(&crowd) { job, _ in
      guard job.step != .join else { return joined(job.buyer + 1) }
      return plans[job.buyer].adjacent
        ? ended("not_together")
        : state("purchased", tickets: [2 * job.buyer + 1, 2 * job.buyer + 2], amount: 2_000)
    }
    #expect(Set(plans.map(\.adjacent)).count == 2)
    crowd.checkAtEnd()
    #expect(crowd.violations.counts[.overtaken] == nil)
  }

  @Test("Who is told that fewer are left takes those in the same place, as planned, and it is counted")
  func fewer() {
    for (status, position) in [(200, 1), (202, 3)] {
      var crowd = crowd(2) {
        $0.quantity = 3...3
        $0.takeFewer = 1
        $0.doubleClick = 1
      }
      var asked: Set<Int> = []
      play(&crowd) { job, _ in
        switch job.step {
        case .join, .joinAgain: return joined(job.buyer + 1)
        case .takeFewer:
          asked.insert(job.buyer)
          var answer = joined(
            job.buyer == 0 ? position : job.buyer + 1, status: job.buyer == 0 ? status : 200)
          answer.requestID = Array("again-\(job.buyer)".utf8)
          return answer
        default:
          if !asked.contains(job.buyer) { return ended("only_n_left", left: 2, answer: 60) }
          return job.buyer == 0
            ? state("purchased", tickets: [1, 2], amount: 2_000) : ended("only_n_left", left: 0)
        }
      }
      crowd.checkAtEnd()
      #expect(crowd.isOver)
      #expect((0..<2).map { crowd.wish($0) } == [Wish(quantity: 2), Wish(quantity: 2)])
      #expect((0..<2).map { crowd.id($0) } == ["again-0", "again-1"])
      #expect(crowd.figures.outcomes == [.purchased: 1, .rejected: 1])
      #expect(crowd.figures.placesKept == (status == 200 ? 2 : 1))
      #expect(crowd.figures.placesNotKept == (status == 200 ? 0 : 1))
      #expect(crowd.violations.isEmpty, "\(crowd.violations)")
    }
  }

  @Test("Another place for who took what was left is seen")
  func fewerElsewhere() {
    var crowd = crowd(1) {
      $0.quantity = 3...3
      $0.takeFewer = 1
    }
    play(&crowd) { job, _ in
      switch job.step {
      case .join: joined(1)
      case .takeFewer: joined(7, status: 200)
      default: ended("only_n_left", left: 2, answer: 60)
      }
    }
    crowd.checkAtEnd()
    #expect(crowd.violations.counts == [.twoPlaces: 1])
  }

  @Test("Who took what was left is from then on one of those who want so many")
  func fewerOvertakes() throws {
    var crowd = crowd(40) {
      $0.quantity = 2...3
      $0.takeFewer = 1
    }
    let two = try #require((0..<40).first { crowd.plan($0).quantity == 2 })
    let three = try #require((two + 1..<40).first { crowd.plan($0).quantity == 3 })
    var hasAsked = false
    play(&crowd) { job, _ in
      switch (job.step, job.buyer) {
      case (.join, _): return joined(job.buyer + 1)
      case (.takeFewer, three):
        hasAsked = true
        return joined(three + 1, status: 200)
      case (_, two): return state("sold_out")
      case (_, three):
        return hasAsked
          ? state("purchased", tickets: [1, 2], amount: 2_000) : ended("only_n_left", left: 2, answer: 60)
      default: return state("expired")
      }
    }
    crowd.checkAtEnd()
    #expect(crowd.violations.counts == [.overtaken: 1])
  }

  @Test("A state that changes after the end, a lost request and a refusal without Retry-After are seen")
  func afterwards() {
    var crowd = crowd(3)
    var position = 0
    play(&crowd) { job, _ in
      if job.step == .join {
        position += 1
        return joined(position)
      }
      return job.buyer == 2 ? Answer(status: 404) : state("sold_out")
    }
    crowd.verifySome(100, at: 61_000)
    #expect(crowd.figures.toVerify == 2)
    while let job = crowd.next(at: 62_000_000) {
      #expect(job.step == .verify)
      crowd.answered(job, state(job.buyer == 0 ? "sold_out" : "expired"), at: 62_000_000, unixMilliseconds: 0)
    }
    #expect(crowd.figures.verified == 2)
    #expect(crowd.violations.counts == [.lost: 1, .changed: 1])
    var refused = self.crowd(1)
    guard let job = refused.next(at: 0) else { return }
    refused.answered(job, Answer(status: 503), at: 0, unixMilliseconds: 0)
    #expect(refused.violations.counts == [.withoutRetryAfter: 1])
  }

  @Test("In an open loop buyers come at their rate, however slow the answers are")
  func openLoop() {
    var crowd = crowd(100) { $0.arrivalsPerSecond = 10 }
    var came: [Int] = []
    for now in stride(from: 0, to: 3_000_000, by: 100_000) {
      while let job = crowd.next(at: now) { came.append(job.wantedAt) }
    }
    #expect(came == (0..<30).map { $0 * 100_000 })
  }

  @Test("Those who leave ask for it once, after their time")
  func leaving() {
    var crowd = crowd(200) { $0.cancel = 1 }
    var position = 0
    var cancels: [Int: Int] = [:]
    play(&crowd) { job, _ in
      switch job.step {
      case .join:
        position += 1
        return joined(position)
      case .cancel:
        cancels[job.buyer, default: 0] += 1
        return Answer(status: 200)
      default:
        return job.buyer.isMultiple(of: 2) ? state("queued") : state("reserved", tickets: [1], amount: 1_000)
      }
    }
    let leaving = (0..<200).filter {
      if case .leavesLine = crowd.plan($0).behaviour { true } else { !$0.isMultiple(of: 2) }
    }
    #expect(Set(cancels.keys) == Set(leaving))
    #expect(cancels.values.allSatisfy { $0 == 1 })
    #expect(crowd.figures.outcomes == [.cancelled: leaving.count])
  }
}
