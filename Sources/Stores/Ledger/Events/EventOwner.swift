import Postgres

/// Whose an event is: of the organizer who made it, and of those who share an organization with them.
package struct EventOwner: Sendable, Equatable {
  /// `nil` for an event of which nobody noted who made it: of managers alone, who may give it to somebody.
  package var user: String?
  package var organizations: [String]

  package init(user: String?, organizations: [String] = []) {
    self.user = user
    self.organizations = organizations
  }

  package func isOne(_ user: String, of organizations: [String]) -> Bool {
    self.user == user || !Set(self.organizations).isDisjoint(with: organizations)
  }

  /// As one text, which no name can look like: organizations have no line breaks.
  init(_ row: PostgresRow) throws {
    user = row["owner"].string
    organizations = (row["organizations"].string ?? "").split(separator: "\n").map(String.init)
  }

  /// The columns that `init(_:)` reads, of the table `event` or its alias `e`.
  static let columns = "e.owner, array_to_string(e.organizations, E'\\n') AS organizations"
}
