/// Something that Redis tells of holds, and of lines that are sold out.
package struct WebhookNews: Sendable {
  /// Of its entry; it also says when that was.
  package let id: String
  package let partition: Partition
  package let type: WebhookType
  package let event: Int
  package let generation: Int
  package let position: Int
  package let userKey: String
  package let user: String
  package let tickets: [Int]
  package let amount: Int
  /// Milliseconds since 1970.
  package let deadline: Int?
  package let wish: WishPlace?
  package let reason: String

  /// Behind how many attempts to pay it is.
  package let attempt: Int

  package init(
    id: String, partition: Partition, type: WebhookType, event: Int, generation: Int, position: Int,
    userKey: String,
    user: String, tickets: [Int], amount: Int, deadline: Int?, wish: WishPlace?, reason: String, attempt: Int
  ) {
    self.id = id
    self.partition = partition
    self.type = type
    self.event = event
    self.generation = generation
    self.position = position
    self.userKey = userKey
    self.user = user
    self.tickets = tickets
    self.amount = amount
    self.deadline = deadline
    self.wish = wish
    self.reason = reason
    self.attempt = attempt
  }

  /// Milliseconds since 1970.
  package var milliseconds: Int { Int(id.prefix { $0 != "-" }) ?? 0 }

  /// Before the first attempt to pay holds are told in the order of the stream; after it with what became of attempts: sold
  /// (0), taken back (1), held again (2), and not held any more (3).
  package var stage: Int { attempt == 0 ? told.stage : 1 }
  package var ordinal: Int {
    attempt > 0 ? 4 * attempt + (type == .holdGranted ? 2 : 3) : told.ordinal
  }

  /// What its id is made of, whatever its order: the same entry is the same message in every version.
  package var told: (stage: Int, ordinal: Int) {
    let number = Int(id.drop { $0 != "-" }.dropFirst()) ?? 0
    return (position > 0 ? 0 : 1, milliseconds * 100_000 + min(number, 99_999))
  }
}
