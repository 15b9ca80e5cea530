import JSON

/// Where an identity provider writes what somebody may do, and in which words.
package struct ClaimMapping: Sendable {
  /// The claim that has roles, such as `role`, `roles`, `cognito:groups`, `realm_access.roles` or
  /// `https://example.com/roles`: a member of the token, or a path of members with points between them.
  package var roleClaim = "role"
  /// Roles by the provider's words for them. The own words always count.
  package var roles: [String: Role] = [:]
  /// The claim that lists organizations, whose organizers share their events; `nil` for none.
  package var organizationClaim: String?
  /// Whether a token that says nothing of its audience is taken, as those of Cognito are.
  package var allowsMissingAudience = false

  package init() {}

  /// What tokens of our own say.
  package static let own = ClaimMapping()

  static let valuesLookedAt = 200
  package static let organizationsKept = 50
  package static let organizationBytes = 200

  /// The highest of the roles. One that only the identity provider knows gives no rights here.
  /// - Parameter isOwn: whether the token was signed with the installation's secret. Only then is who is called `guest` one
  ///   of ours: what an identity provider calls so may be a buyer without a password, and is a guest if `roles` says so.
  func role(_ payload: JSON, isOwn: Bool) throws(AuthError) -> Role {
    let words = try strings(payload, roleClaim)
    return words.compactMap { word in
      if let role = roles[word] { return role }
      let role = Role(rawValue: word)
      return role == .guest && !isOwn ? .customer : role
    }.max() ?? .customer
  }

  func organizations(_ payload: JSON) throws(AuthError) -> [String] {
    guard let organizationClaim else { return [] }
    let names = try strings(payload, organizationClaim)
    return Array(names.filter(Self.isOrganization).prefix(Self.organizationsKept))
  }

  /// Names are kept and read divided by line breaks: one that had any would be two, each with others in it.
  package static func isOrganization(_ name: String) -> Bool {
    !name.isEmpty && name.utf8.count <= organizationBytes
      && !name.unicodeScalars.contains { $0.properties.generalCategory == .control }
  }

  /// A claim that is a string or a list; what is no string in a list is passed over.
  private func strings(_ payload: JSON, _ path: String) throws(AuthError) -> [String] {
    switch Self.member(payload, path) {
    case nil, .null?: return []
    case .string(let word)?: return [word]
    case .array(let list)?: return list.prefix(Self.valuesLookedAt).compactMap(\.string)
    // As Zitadel and others have it: the names of members are what is listed, but of those that say no.
    case .object(let members)?:
      return members.prefix(Self.valuesLookedAt).filter { $0.value != .null && $0.value != .bool(false) }
        .map(\.name)
    default: throw AuthError(.claims, "`\(path)` must be a string or a list of strings")
    }
  }

  /// The member of that whole name, or the one that a path leads to. Names may have points themselves.
  private static func member(_ json: JSON, _ path: String) -> JSON? {
    if let whole = json[path] { return whole }
    for (index, character) in zip(path.indices, path) where character == "." {
      guard let inner = json[String(path[..<index])], inner.members != nil else { continue }
      if let found = member(inner, String(path[path.index(after: index)...])) { return found }
    }
    return nil
  }
}
