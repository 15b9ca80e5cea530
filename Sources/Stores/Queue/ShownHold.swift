/// A hold that Redis has forgotten and somebody else remembers: the buyer, signed, or a server that told of it. Its
/// owner gives the seats back, if they are nobody else's.
package struct ShownHold: Sendable, Equatable {
  package let position: Int
  package let userKey: String
  /// The life of the queue in which it was granted.
  package let generation: Int
  /// In milliseconds since 1970 on Redis's clock.
  package let deadline: Int
  /// In minor units.
  package let amount: Int
  package let tickets: [Int]

  package init(
    position: Int, userKey: String, generation: Int, deadline: Int, amount: Int, tickets: [Int]
  ) {
    self.position = position
    self.userKey = userKey
    self.generation = generation
    self.deadline = deadline
    self.amount = amount
    self.tickets = tickets
  }

  /// As the library keeps it: deadline, amount, tickets and the user's key.
  init?(shown text: String, _ position: Int) {
    let parts = text.split(separator: "|", omittingEmptySubsequences: false)
    guard parts.count == 4, let deadline = Int(parts[0]), let amount = Int(parts[1]) else { return nil }
    self.init(
      position: position, userKey: String(parts[3]), generation: 0, deadline: deadline, amount: amount,
      tickets: QueueStore.tickets(String(parts[2])))
  }
}
