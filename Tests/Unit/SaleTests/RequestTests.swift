import Sale
import Testing

@Suite("Requests: what is asked for and where it stands")
struct RequestTests {
  @Test(
    "What is asked for survives its encoding",
    arguments: [
      (RequestedSeats(quantity: 2), "2"),
      (RequestedSeats(quantity: 50, section: 7), "50s7"),
      (RequestedSeats(quantity: 3, section: 0, adjacent: true), "3s0a"),
      (RequestedSeats(quantity: 4, adjacent: true), "4a"),
      (RequestedSeats(quantity: 9, section: 1, tickets: [12, 3, 12], adjacent: true), "t3,12"),
    ])
  func encoding(seats: RequestedSeats, text: String) {
    #expect(seats.encoded == text)
    #expect(RequestedSeats(encoded: text) == seats)
  }

  @Test(
    "Anything else is not read as a request",
    arguments: [
      "", "0", "51", "-1", "+2", "2s", "2sx", "2x", "2a ", "2as7", "t", "t0", "t1,", "t2,1", "t1,1", "t1;2",
      "x",
      "99999999999999999999", "t99999999999999999999", "2s-1", "٢",
    ])
  func garbage(text: String) {
    #expect(RequestedSeats(encoded: text) == nil)
  }

  @Test("At most as many exact seats are read as one request may have")
  func manyTickets() {
    let most = "t" + (1...Limits.ticketsPerRequest).map(String.init).joined(separator: ",")
    #expect(RequestedSeats(encoded: most)?.quantity == Limits.ticketsPerRequest)
    #expect(RequestedSeats(encoded: most + ",1000") == nil)
  }

  @Test("A decline ends a request once its hold has ended", arguments: RequestState.allCases)
  func terminal(state: RequestState) {
    let ends: Set<RequestState> = [.purchased, .expired, .soldOut, .cancelled, .rejected]
    #expect(state.isTerminal(hasHold: true) == ends.contains(state))
    #expect(state.isTerminal(hasHold: false) == (ends.contains(state) || state == .declined))
  }

  @Test("The names in the API are fixed")
  func names() {
    #expect(
      RequestState.allCases.map(\.rawValue) == [
        "lobby", "queued", "standby", "reserved", "confirming", "purchased", "expired", "action_required",
        "declined", "sold_out", "cancelled", "rejected",
      ])
  }
}
