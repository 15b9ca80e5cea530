/// An event's settings and counts as Redis has them.
package struct QueueFacts: Sendable {
  package var document: QueueDocument
  package var queueLimit: Int
  package var perUserLimit: Int
  package var holdMilliseconds: Int
  package var rate: Int?
  /// Places up to this one may have ended without a record in a line that was sold out, and reopened since.
  package var reopenedUpTo: Int
  /// Places up to this one may be nobody's: the line was lost, and not all who were in it came back.
  package var rejoinedUpTo: Int
  /// How many places have no record, and are in no line, since theirs ended, and since all did; `nil` where that was not
  /// counted from the beginning.
  package var ended: (withLine: Int, inMass: Int)?
  /// Where lines stand, by their numbers.
  package var marks: [Int: LineMark] = [:]
  /// Places that may have ended with their lines.
  package var lineEnds: [ClosedRange<Int>] = []

  package init(
    document: QueueDocument, queueLimit: Int, perUserLimit: Int, holdMilliseconds: Int, rate: Int?,
    reopenedUpTo: Int, rejoinedUpTo: Int
  ) {
    self.document = document
    self.queueLimit = queueLimit
    self.perUserLimit = perUserLimit
    self.holdMilliseconds = holdMilliseconds
    self.rate = rate
    self.reopenedUpTo = reopenedUpTo
    self.rejoinedUpTo = rejoinedUpTo
  }
}
