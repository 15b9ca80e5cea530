/// Where an event's queue lives: all its keys share the partition's hash tag, and one worker owns the partition.
package struct Partition: Hashable, Sendable {
  /// How many there are. Changing it moves events, so it is fixed for the life of an installation.
  package static let count = 16
  package static let all = (0..<count).map(Partition.init(number:))

  package let number: Int

  package init(number: Int) { self.number = number }
  package init(of event: Int) { number = event % Self.count }
}
