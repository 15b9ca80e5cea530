/// The records of a hundred positions, as lines of `<position modulo 100>=<record>`.
package struct RecordBucket: Sendable, Equatable {
  package let number: Int
  package let records: String
}
