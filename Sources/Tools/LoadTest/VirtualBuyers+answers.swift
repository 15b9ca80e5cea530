extension VirtualBuyers {
  /// Pause before something is tried again, in milliseconds, when the answer does not say.
  private static let retryMilliseconds = 500
  /// Past the end of a hold, in milliseconds, when it must be gone: the system's second, one poll, and the rounding
  /// of `expires_at`; and while owners die and stop, until another has taken over.
  private var holdGraceMilliseconds: Int {
    3_000 + (options.chaosSeconds == nil ? 0 : ChaosSchedule.recoveryMilliseconds)
  }
  /// Between sending a confirm and the first look at how it ended.
  private static let confirmPollMilliseconds = 250
  /// Longest pause before what is left is asked for; the place is kept for a minute.
  private static let longestThought = 10_000

  /// Takes in the answer to a request.
  package mutating func answered(_ job: Job, _ answer: Answer, at now: Int, unixMilliseconds: Int) {
    let name = job.step.name
    figures.sent[name, default: 0] += 1
    figures.latencies[name, default: Latencies()].record(microseconds: now - job.wantedAt)
    if job.step == .poll || job.step == .verify { LoadTestFigures.count(&figures.pollsBySecond, at: now) }
    if answer.status >= 400 {
      figures.errors["\(name) \(answer.status) \(answer.code ?? "-")", default: 0] += 1
    }
    violations.look(.unexpected)
    if answer.status == 429 || answer.status == 503 { violations.look(.withoutRetryAfter) }
    if answer.status == 429 || answer.status == 503, answer.retryAfterSeconds == nil {
      violations.add(.withoutRetryAfter, "\(name) was answered \(answer.status) without Retry-After")
    }
    switch job.step {
    case .join: joined(job.buyer, answer, now)
    case .joinAgain: joinedAgain(job.buyer, answer)
    case .poll: polled(job.buyer, answer, now, unixMilliseconds)
    case .confirm: confirmed(job.buyer, answer, now)
    case .confirmAgain: confirmedAgain(job.buyer, answer)
    case .cancel: cancelled(job.buyer, answer, now)
    case .verify: verified(job.buyer, answer)
    case .rejoin: cameBack(job.buyer, answer, now)
    case .takeFewer: tookFewer(job.buyer, answer, now)
    }
  }

  /// Takes in that there was no answer.
  package mutating func failed(_ job: Job, code: String, at now: Int) {
    figures.sent[job.step.name, default: 0] += 1
    figures.errors["\(job.step.name) - \(code)", default: 0] += 1
    if job.step == .verify { figures.toVerify -= 1 }
    guard isFirstClick(job.step) else { return }
    retry(job.buyer, job.step, nil, now)
  }

  private func isFirstClick(_ step: Step) -> Bool {
    step != .joinAgain && step != .confirmAgain && step != .verify
  }

  private mutating func retry(_ buyer: Int, _ step: Step, _ answer: Answer?, _ now: Int) {
    var random = SplitMix64(state: UInt64(buyer) ^ UInt64(now))
    let pause = max(Self.retryMilliseconds, (answer?.retryAfterSeconds ?? 0) * 1000)
    schedule(buyer, step, at: now / 1000 + pause + random.below(pause / 2))
  }

  // MARK: Join

  private mutating func joined(_ buyer: Int, _ answer: Answer, _ now: Int) {
    switch answer.status {
    case 200, 202: accept(buyer, answer, now)
    case 410: refuse(buyer, .refusedSoldOut)
    case 409 where answer.code == "closed": refuse(buyer, .refusedClosed)
    case 409, 429, 500...599: retry(buyer, .join, answer, now)
    case 422 where answer.code == "limit_exceeded": refuse(buyer, .refusedLimit)
    default:
      violations.add(.unexpected, "join of \(user(buyer)): \(answer.status) \(answer.code ?? "")")
      refuse(buyer, .refusedOther)
    }
  }

  private mutating func refuse(_ buyer: Int, _ outcome: Outcome) { end(buyer, outcome) }

  private mutating func accept(_ buyer: Int, _ answer: Answer, _ now: Int) {
    guard let position = answer.position, position > 0, keep(answer.requestID, buyer) else {
      violations.add(
        .unexpected, "join of \(user(buyer)): \(answer.status) without a usable request_id and position")
      return refuse(buyer, .refusedOther)
    }
    if answer.status == 200 { figures.again += 1 }
    figures.accepted += 1
    LoadTestFigures.count(&figures.joinsBySecond, at: now)
    buyers[buyer].phase = .inLine
    buyers[buyer].position = Int32(position)
    if placesTaken.count <= position {
      placesTaken += Array(
        repeating: false, count: max(position + 1, placesTaken.count * 2) - placesTaken.count)
    }
    violations.look(.placeOfTwo)
    if placesTaken[position] {
      violations.add(.placeOfTwo, "position \(position) was given to \(user(buyer)) and to somebody else")
    }
    placesTaken[position] = true
    wait(buyer, answer, now)
  }

  private mutating func joinedAgain(_ buyer: Int, _ answer: Answer) {
    if answer.status == 200 || answer.status == 202, let position = answer.position {
      secondPositions[Int32(buyer)] = Int32(position)
    }
  }

  /// Asks again when told to, or leaves when it is time.
  private mutating func wait(_ buyer: Int, _ answer: Answer, _ now: Int) {
    let milliseconds = now / 1000
    let pollAt = milliseconds + max(answer.pollAfterMilliseconds ?? 1_000, 10)
    if case .leavesLine(let after) = plan(buyer).behaviour, !buyers[buyer].flags.contains(.stays) {
      let leaveAt = Int(buyers[buyer].joinedAt) + after
      if leaveAt <= pollAt { return schedule(buyer, .cancel, at: max(leaveAt, milliseconds)) }
    }
    schedule(buyer, .poll, at: pollAt)
  }

  // MARK: Coming back

  /// What a buyer had is lost with the line, and nothing of it counts any more but the place.
  private mutating func lose(_ buyer: Int, _ now: Int) {
    buyers[buyer].phase = .inLine
    buyers[buyer].flags.subtract([.granted, .secondCard])
    buyers[buyer].confirmedAt = 0
    buyers[buyer].holdEndsAt = Int32(clamping: now / 1000)
    buyers[buyer].step = .rejoin
    // At once, as the page does, and not behind all others whose time it is to ask where they stand.
    hurry(Job(buyer: buyer, step: .rejoin, wantedAt: now))
  }

  private mutating func cameBack(_ buyer: Int, _ answer: Answer, _ now: Int) {
    switch answer.status {
    case 200, 202:
      guard let position = answer.position, keep(answer.requestID, buyer) else {
        violations.add(
          .unexpected, "rejoin of \(user(buyer)): \(answer.status) without request_id and position")
        return end(buyer, .rejected)
      }
      violations.look(.movedPlace)
      if position != Int(buyers[buyer].position) {
        violations.add(
          .movedPlace, "\(user(buyer)) had position \(buyers[buyer].position) and came back at \(position)")
        buyers[buyer].position = Int32(position)
      }
      figures.lostToBack.record(microseconds: now - Int(buyers[buyer].holdEndsAt) * 1000)
      buyers[buyer].holdEndsAt = 0
      LoadTestFigures.count(&figures.returnsBySecond, at: now)
      wait(buyer, answer, now)
    case 429, 500...599: retry(buyer, .rejoin, answer, now)
    // Sold out or closed while the line was away.
    case 409, 410: end(buyer, .rejected)
    default:
      violations.add(.unexpected, "rejoin of \(user(buyer)): \(answer.status) \(answer.code ?? "")")
      end(buyer, .rejected)
    }
  }

  // MARK: Poll

  private mutating func polled(_ buyer: Int, _ answer: Answer, _ now: Int, _ unix: Int) {
    violations.look(.lost)
    guard answer.status == 200, let state = answer.state else {
      switch answer.status {
      case 429, 500...599: retry(buyer, .poll, answer, now)
      case 404:
        violations.add(.lost, "\(user(buyer)) at position \(buyers[buyer].position): 404")
        end(buyer, .none)
      default:
        violations.add(.unexpected, "poll of \(user(buyer)): \(answer.status) \(answer.code ?? "")")
        retry(buyer, .poll, answer, now)
      }
      return
    }
    switch state {
    case "lobby", "queued", "standby":
      if answer.reason == "hold_lost" {
        loseHold(buyer)
      } else if answer.reason != "hold_returning",
        buyers[buyer].phase == .holding || buyers[buyer].phase == .paying
      {
        violations.add(.changed, "\(user(buyer)) had seats, and then was \(state)")
      }
      wait(buyer, answer, now)
    case "reserved": reserved(buyer, answer, now, unix)
    case "confirming", "action_required":
      begunToPay(buyer, answer, now)
      schedule(buyer, .poll, at: now / 1000 + max(answer.pollAfterMilliseconds ?? 500, 10))
    case "rejected" where answer.reason == "queue_lost" && options.rejoins:
      // What was held is shown at the new place.
      lose(buyer, now)
    case "declined" where answer.pollAfterMilliseconds ?? 0 > 0: declined(buyer, answer, now, unix)
    default:
      guard let outcome = Outcome(state: state) else {
        violations.add(.unexpected, "\(user(buyer)) is in the state \(state)")
        return retry(buyer, .poll, answer, now)
      }
      ended(buyer, outcome, answer, now)
    }
  }

  private mutating func granted(_ buyer: Int, _ answer: Answer, _ now: Int) {
    guard !buyers[buyer].flags.contains(.granted) else { return }
    buyers[buyer].flags.insert(.granted)
    figures.joinToReserved.record(microseconds: now - Int(buyers[buyer].joinedAt) * 1000)
    check(seats: answer, of: buyer)
  }

  /// Told that the seats are lost: whatever comes next is for others.
  private mutating func loseHold(_ buyer: Int) {
    if holds.removeValue(forKey: Int32(buyer)) == nil { return }
    figures.holdsLost += 1
    buyers[buyer].phase = .inLine
    buyers[buyer].flags.subtract([.granted, .secondCard])
    buyers[buyer].confirmedAt = 0
    buyers[buyer].holdEndsAt = 0
  }

  private mutating func reserved(_ buyer: Int, _ answer: Answer, _ now: Int, _ unix: Int) {
    if answer.reason == "hold_lost" { loseHold(buyer) }
    holds[Int32(buyer)] = answer.hold
    granted(buyer, answer, now)
    let milliseconds = now / 1000
    buyers[buyer].phase = .holding
    if let expires = answer.expiresAt {
      buyers[buyer].holdEndsAt = Int32(clamping: milliseconds + expires - unix)
    }
    let plan = plan(buyer)
    switch plan.behaviour {
    case .buys: schedule(buyer, .confirm, at: milliseconds + plan.thinkMilliseconds)
    case .givesBack: schedule(buyer, .cancel, at: milliseconds + plan.thinkMilliseconds)
    case .leavesLine: wait(buyer, answer, now)
    case .abandons: waitForEnd(buyer, answer, now)
    }
  }

  /// Looks again when the hold must be gone, and says so if it is not.
  private mutating func waitForEnd(_ buyer: Int, _ answer: Answer, _ now: Int) {
    let milliseconds = now / 1000, end = Int(buyers[buyer].holdEndsAt)
    guard end > 0 else { return schedule(buyer, .poll, at: milliseconds + 1_000) }
    violations.look(.heldTooLong)
    if milliseconds > end + holdGraceMilliseconds {
      violations.add(
        .heldTooLong,
        "\(user(buyer)) is still \(answer.state ?? "") \(milliseconds - end) ms past the hold's end")
    }
    schedule(buyer, .poll, at: max(milliseconds + 500, end + holdGraceMilliseconds - 500))
  }

  private mutating func declined(_ buyer: Int, _ answer: Answer, _ now: Int, _ unix: Int) {
    holds[Int32(buyer)] = answer.hold
    granted(buyer, answer, now)
    buyers[buyer].phase = .holding
    if let expires = answer.expiresAt {
      buyers[buyer].holdEndsAt = Int32(clamping: now / 1000 + expires - unix)
    }
    if plan(buyer).card == .declinedThenGood, !buyers[buyer].flags.contains(.secondCard) {
      buyers[buyer].flags.insert(.secondCard)
      buyers[buyer].confirmedAt = 0
      schedule(buyer, .confirm, at: now / 1000)
    } else {
      waitForEnd(buyer, answer, now)
    }
  }

  private mutating func begunToPay(_ buyer: Int, _ answer: Answer, _ now: Int) {
    granted(buyer, answer, now)
    buyers[buyer].phase = .paying
  }

  private mutating func ended(_ buyer: Int, _ outcome: Outcome, _ answer: Answer, _ now: Int) {
    if outcome == .purchased {
      granted(buyer, answer, now)
      check(seats: answer, of: buyer)
      let begun = buyers[buyer].confirmedAt
      if begun > 0 { figures.confirmToPurchased.record(microseconds: now - Int(begun) * 1000) }
      LoadTestFigures.count(&figures.purchasesBySecond, at: now)
      figures.amount += answer.amount ?? 0
      figures.ticketsBought += answer.tickets.count
      violations.look(.ticketOfTwo)
      for ticket in answer.tickets where owners.indices.contains(ticket) {
        if owners[ticket] >= 0, owners[ticket] != buyer {
          violations.add(
            .ticketOfTwo, "ticket \(ticket) was bought by \(user(Int(owners[ticket]))) and \(user(buyer))")
        }
        owners[ticket] = Int32(buyer)
      }
    } else if answer.isEndOfWish {
      let told = answer.reason ?? outcome.name
      if buyers[buyer].flags.contains(.granted) {
        violations.add(.changed, "\(user(buyer)) had seats, and then was told \(told)")
      }
      noteEnd(of: buyer, told)
      if takesFewer(buyer, answer, now) { return }
    }
    end(buyer, outcome)
  }

  // MARK: Fewer

  /// Lets the buyer ask for what is left, if that is the plan and was not done before.
  private mutating func takesFewer(_ buyer: Int, _ answer: Answer, _ now: Int) -> Bool {
    let plan = plan(buyer)
    guard plan.takesFewer, buyers[buyer].fewer == 0, answer.answerWithinSeconds ?? 0 > 0,
      let left = answer.left, (1..<plan.quantity).contains(left)
    else { return false }
    buyers[buyer].fewer = UInt8(left)
    schedule(buyer, .takeFewer, at: now / 1000 + min(plan.thinkMilliseconds, Self.longestThought))
    return true
  }

  private mutating func tookFewer(_ buyer: Int, _ answer: Answer, _ now: Int) {
    switch answer.status {
    case 200 where answer.position == Int(buyers[buyer].position):
      guard keep(answer.requestID, buyer) else {
        violations.add(.unexpected, "answer of \(user(buyer)): 200 without a usable request_id")
        return end(buyer, .rejected)
      }
      figures.placesKept += 1
      buyers[buyer].flags.insert(.keptPlace)
      wait(buyer, answer, now)
    case 202:
      // Too late: the place has ended for good, and this is another, at the back.
      figures.placesNotKept += 1
      secondPositions[Int32(buyer)] = nil
      buyers[buyer].joinedAt = Int32(now / 1000)
      accept(buyer, answer, now)
    case 200:
      violations.add(
        .twoPlaces,
        "\(user(buyer)) has the positions \(buyers[buyer].position) and \(answer.position ?? 0)")
      end(buyer, .rejected)
    case 429, 500...599: retry(buyer, .takeFewer, answer, now)
    case 409, 410, 422: end(buyer, .rejected)  // all is sold or closed by now, and the place stays ended
    default:
      violations.add(.unexpected, "answer of \(user(buyer)): \(answer.status) \(answer.code ?? "")")
      end(buyer, .rejected)
    }
  }

  // MARK: Confirm, cancel

  package func paymentMethod(_ buyer: Int) -> String {
    if plan(buyer).card != .good, !buyers[buyer].flags.contains(.secondCard) {
      return "pm_card_visa_chargeDeclined"
    }
    return "pm_card_visa"
  }

  private mutating func confirmed(_ buyer: Int, _ answer: Answer, _ now: Int) {
    switch answer.status {
    case 200, 202:
      buyers[buyer].phase = .paying
      schedule(
        buyer, .poll, at: now / 1000 + max(10, answer.pollAfterMilliseconds ?? Self.confirmPollMilliseconds))
    case 409, 410: schedule(buyer, .poll, at: now / 1000)  // the poll says why
    case 429, 500...599: retry(buyer, .confirm, answer, now)
    default:
      violations.add(.unexpected, "confirm of \(user(buyer)): \(answer.status) \(answer.code ?? "")")
      retry(buyer, .poll, answer, now)
    }
  }

  private mutating func confirmedAgain(_ buyer: Int, _ answer: Answer) {
    switch answer.status {
    case 200, 202, 409, 410, 429, 500...599: break
    default:
      violations.add(.unexpected, "second confirm of \(user(buyer)): \(answer.status) \(answer.code ?? "")")
    }
  }

  private mutating func cancelled(_ buyer: Int, _ answer: Answer, _ now: Int) {
    switch answer.status {
    case 200: end(buyer, .cancelled)
    case 409, 410:  // it ended, or a payment is under way
      buyers[buyer].flags.insert(.stays)
      schedule(buyer, .poll, at: now / 1000 + 100)
    case 429, 500...599: retry(buyer, .cancel, answer, now)
    default:
      violations.add(.unexpected, "cancel of \(user(buyer)): \(answer.status) \(answer.code ?? "")")
      end(buyer, .none)
    }
  }

  private mutating func verified(_ buyer: Int, _ answer: Answer) {
    figures.verified += 1
    guard answer.status == 200, let state = answer.state else {
      if answer.status == 404 { violations.add(.lost, "\(user(buyer)) after the end: 404") }
      return
    }
    violations.look(.changed)
    let outcome = buyers[buyer].outcome
    if Outcome(state: state) != outcome {
      violations.add(.changed, "\(user(buyer)) was told \(outcome.name), and later \(state)")
    }
  }
}
