/// Names that somebody wrote and nobody knows: of members of a body, and of items of a query.
enum UnknownNames {
  private static let told = 20
  private static let characters = 60

  /// - Parameter place: a name's own, as a text and for programs.
  /// - Throws: 400 that names each of `names` that is not `known`, and what may have been meant.
  static func refuse(
    _ names: some Sequence<String>, _ known: Set<String>,
    _ place: (String) -> (path: String, place: Finding.Place)
  ) throws(Problem) {
    let unknown = names.filter { !known.contains($0) }
    if unknown.isEmpty { return }
    var findings = unknown.prefix(told).map { name -> Finding in
      let (path, place) = place(String(name.prefix(characters)))
      let meant = NearestName.of(name, in: known).map { ": did you mean `\($0)`?" } ?? "."
      return Finding(place, "The field `\(path)` cannot be set here\(meant)")
    }
    let possible =
      known.isEmpty
      ? "There are none." : "Possible are \(known.sorted().map { "`\($0)`" }.joined(separator: ", "))."
    findings[findings.count - 1].detail += " \(possible)"
    throw Problem(
      400, "invalid_field", findings.map(\.detail).joined(separator: " "), errors: findings,
      untold: unknown.count - findings.count)
  }
}
