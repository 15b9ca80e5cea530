extension Crowd {
  /// Whether what was granted is what was asked for, at its price.
  mutating func check(seats answer: Answer, of buyer: Int) {
    violations.look(.wrongSeats)
    violations.look(.wrongCharge)
    let plan = plan(buyer)
    if Set(answer.tickets).count != plan.quantity || answer.tickets.count != plan.quantity {
      violations.add(
        .wrongSeats, "\(user(buyer)) asked for \(plan.quantity) tickets and has \(answer.tickets)")
    }
    var price = 0
    for ticket in answer.tickets {
      guard let known = venue.tickets[ticket] else {
        violations.add(.wrongSeats, "\(user(buyer)) has ticket \(ticket), which the event does not have")
        return
      }
      price += known.price
      if let section = plan.section, section != known.section {
        violations.add(
          .wrongSeats, "\(user(buyer)) has ticket \(ticket), which is not in the section asked for")
      }
    }
    if answer.amount != price || answer.currency != venue.currency {
      violations.add(
        .wrongCharge,
        "\(user(buyer)): \(answer.amount ?? 0) \(answer.currency ?? "-") for tickets of \(price) \(venue.currency)"
      )
    }
  }

  /// Checks what only the end shows.
  package mutating func checkAtEnd() {
    for (buyer, second) in secondPositions.sorted(by: { $0.key < $1.key }) {
      let first = buyers[Int(buyer)].position
      violations.look(.twoPlaces)
      if first > 0, first != second {
        violations.add(.twoPlaces, "\(user(Int(buyer))) has the positions \(first) and \(second)")
      }
    }
    checkOrder()
    var ended = 0
    for buyer in buyers where buyer.phase == .ended && buyer.position > 0 && buyer.outcome.isTerminal {
      ended += 1
    }
    violations.look(.figures)
    let unaccounted = figures.accepted - ended - pending
    if unaccounted != 0 {
      violations.add(.figures, "\(figures.accepted) accepted, \(ended) terminal, \(pending) pending")
    }
  }

  /// P4: among those who want the same, nobody is told sold out while a later one gets seats.
  private mutating func checkOrder() {
    struct Wish: Hashable {
      let quantity: Int
      let section: Int?
    }
    var firstSoldOut: [Wish: (position: Int32, buyer: Int)] = [:]
    for buyer in buyers.indices where buyers[buyer].outcome == .soldOut {
      let plan = plan(buyer), position = buyers[buyer].position
      let wish = Wish(quantity: plan.quantity, section: plan.section)
      violations.look(.overtaken)
      if position < firstSoldOut[wish]?.position ?? .max { firstSoldOut[wish] = (position, buyer) }
    }
    for buyer in buyers.indices where buyers[buyer].flags.contains(.granted) {
      let plan = plan(buyer), position = buyers[buyer].position
      guard let first = firstSoldOut[Wish(quantity: plan.quantity, section: plan.section)],
        first.position < position
      else { continue }
      violations.add(
        .overtaken,
        "\(user(first.buyer)) at \(first.position) was told sold out, \(user(buyer)) at \(position) got seats"
      )
    }
  }
}
