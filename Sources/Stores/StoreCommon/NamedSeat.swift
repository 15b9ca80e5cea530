/// A seat by what is printed on its ticket.
package struct NamedSeat: Hashable, Sendable {
  package let section: String
  package let row: String?
  package let seat: String

  package init(section: String, row: String?, seat: String) {
    self.section = section
    self.row = row
    self.seat = seat
  }
}
