extension VirtualBuyers {
  /// Whether what was granted is what was asked for, at its price.
  mutating func check(seats answer: Answer, of buyer: Int) {
    violations.look(.wrongSeats)
    violations.look(.wrongCharge)
    let wish = wish(buyer)
    if Set(answer.tickets).count != wish.quantity || answer.tickets.count != wish.quantity {
      violations.add(
        .wrongSeats, "\(user(buyer)) asked for \(wish.quantity) tickets and has \(answer.tickets)")
    }
    var price = 0
    for ticket in answer.tickets {
      guard let known = offer.tickets[ticket] else {
        violations.add(.wrongSeats, "\(user(buyer)) has ticket \(ticket), which the event does not have")
        return
      }
      price += known.price
      if let section = wish.section, section != known.section {
        violations.add(
          .wrongSeats, "\(user(buyer)) has ticket \(ticket), which is not in the section asked for")
      }
    }
    if answer.amount != price || answer.currency != offer.currency {
      violations.add(
        .wrongCharge,
        "\(user(buyer)): \(answer.amount ?? 0) \(answer.currency ?? "-") for tickets of \(price) \(offer.currency)"
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
    let unaccounted = figures.accepted - ended - pending - figures.placesNotKept
    if unaccounted != 0 {
      violations.add(.figures, "\(figures.accepted) accepted, \(ended) terminal, \(pending) pending")
    }
  }

  /// Somebody was told that what they want cannot be had any more.
  mutating func noteEnd(of buyer: Int, _ told: String) {
    violations.look(.overtaken)
    // Who kept a place wants since then what others wanted before, some of whom may stand behind and have been served.
    guard !buyers[buyer].flags.contains(.keptPlace) else { return }
    let wish = wish(buyer), position = buyers[buyer].position
    if position < firstEnds[wish]?.position ?? .max { firstEnds[wish] = (position, buyer, told) }
  }

  /// P4: nobody is told an end while a later one of the same wish gets seats.
  private mutating func checkOrder() {
    for buyer in buyers.indices where buyers[buyer].flags.contains(.granted) {
      let position = buyers[buyer].position
      guard let first = firstEnds[wish(buyer)], first.position < position else { continue }
      violations.add(
        .overtaken,
        "\(user(first.buyer)) at \(first.position) was told \(first.told), \(user(buyer)) at \(position) got seats"
      )
    }
  }
}
