/// What clients have done lately with accounts: those who do most of it, in bounded memory.
///
/// When there are too many, the half that has done least is forgotten, and begins anew: who does much is always there, and
/// has at most been counted short of what they did before.
package struct ClientUse: Sendable {
  package enum Act: Sendable {
    case signUp
    case signIn
    /// A password or an address that was wrong.
    case refusal
  }

  package struct Counts: Sendable, Equatable {
    package var signUps = 0
    package var signIns = 0
    package var refusals = 0

    package init(signUps: Int = 0, signIns: Int = 0, refusals: Int = 0) {
      (self.signUps, self.signIns, self.refusals) = (signUps, signIns, refusals)
    }

    var sum: Int { signUps + signIns + refusals }
  }

  private let capacity: Int
  private var clients: [String: Counts] = [:]

  package init(capacity: Int) {
    precondition(capacity > 1)
    self.capacity = capacity
  }

  package mutating func count(_ act: Act, of client: String) {
    if clients[client] == nil, clients.count >= capacity {
      let most = clients.sorted { $0.value.sum > $1.value.sum }.prefix(capacity / 2)
      clients = Dictionary(uniqueKeysWithValues: most.map { ($0.key, $0.value) })
    }
    switch act {
    case .signUp: clients[client, default: Counts()].signUps += 1
    case .signIn: clients[client, default: Counts()].signIns += 1
    case .refusal: clients[client, default: Counts()].refusals += 1
    }
  }

  /// Those with the most of anything, at most `limit` of each kind.
  package func busiest(_ limit: Int) -> [(client: String, counts: Counts)] {
    var names: Set<String> = []
    for kind in [\Counts.signUps, \Counts.signIns, \Counts.refusals] {
      names.formUnion(
        clients.filter { $0.value[keyPath: kind] > 0 }.sorted {
          $0.value[keyPath: kind] > $1.value[keyPath: kind]
        }
        .prefix(limit).map(\.key))
    }
    return names.map { ($0, clients[$0] ?? Counts()) }
  }
}
