import Audit

/// How large a crowd, how it behaves, and when it stops.
package struct LoadTestOptions: Sendable, Equatable {
  package static let usage = """
    usage: onsale rush --buyers N (--event ID | --create SEATS) [options]

    where
      --event ID             an event that is open
      --create SEATS         make an event with so many seats, and open it
      --sections N           of the made event (1)
      --hold SECONDS         of the made event (10)
    who
      --buyers N             how many
      --seed N               the same seed is the same crowd (1)
      --quantity A..B        tickets each asks for (1..2)
      --named-section SHARE  ask for one section; the others take the best available (0)
      --adjacent SHARE       of those who ask for several: side by side or not at all (0)
      --take-fewer SHARE     told that fewer are left than they asked for, take those and keep their place (0.1)
      --abandon SHARE        let their hold expire (0)
      --cancel SHARE         leave, half of them in line and half with a hold (0)
      --declined SHARE       pay with a card that is refused; half of them then with a good one (0)
      --rejoin               ask again for a place that was lost with the line, which must be the same
      --double-click SHARE   send each join and confirm twice (0)
      --think MILLISECONDS   before they confirm, up to (0)
    how
      --buy                  reserve with a payment method: one call buys
      --arrivals PER_SECOND  they come at this rate, whatever the answers; otherwise as fast as answered
      --connections N        requests in flight (64)
      --wait SECONDS         long polls, on up to half of the connections (0)
      --client own|curl      own: plain HTTP, little work a request; curl: the system's client (own)
      --seconds-limit N      stop after so long (600)
      --settle SECONDS       how long the audit waits for work under way (30)
      --chaos SECONDS        meanwhile kill, stop, cut off and slow down, at random by the seed, what a local
                             stack consists of (ONSALE_STATE names it); a hold may then end 45 s late
      --restart COMMAND      starts again what died; needed for --chaos
      --no-audit             only what the buyers saw
      --no-freshness         do not measure how soon search and the event page show what happens
      --json                 for machines

    Exit code: 0 when every promise held, 1 when one did not, 2 when it could not run.

    """

  package enum Place: Sendable, Equatable {
    case event(Int)
    case create(seats: Int)
  }

  package enum Client: String, Sendable { case own, curl }

  package var place = Place.create(seats: 100)
  package var sections = 1
  package var holdSeconds = 10
  package var buyers = 1_000
  package var seed = 1
  package var quantity = 1...2
  package var namedSection = 0.0
  package var adjacent = 0.0
  package var takeFewer = 0.1
  package var abandon = 0.0
  package var cancel = 0.0
  package var declined = 0.0
  package var rejoins = false
  package var doubleClick = 0.0
  package var thinkMilliseconds = 0
  package var buys = false
  package var arrivalsPerSecond: Int?
  package var connections = 64
  package var waitSeconds = 0
  package var client = Client.own
  package var secondsLimit = 600
  package var settleSeconds = 30
  /// `nil`: nothing is disturbed.
  package var chaosSeconds: Int?
  package var restart = ""
  package var audits = true
  package var measuresFreshness = true
  package var asJSON = false

  package init() {}

  /// - Throws: `Problems` with everything that is wrong.
  package init(_ arguments: [String]) throws(Problems) {
    var reader = ArgumentReader(
      arguments,
      names: [
        "event", "create", "sections", "hold", "buyers", "seed", "quantity", "named-section", "adjacent",
        "take-fewer", "abandon", "cancel",
        "declined", "double-click", "think", "arrivals", "connections", "wait", "client", "seconds-limit",
        "settle", "chaos", "restart",
      ], switches: ["buy", "rejoin", "no-audit", "no-freshness", "json"])
    sections = reader.integer("sections", in: 1...100) ?? sections
    holdSeconds = reader.integer("hold", in: 10...7_200) ?? holdSeconds
    let count = reader.integer("buyers", in: 1...Self.mostBuyers)
    buyers = count ?? buyers
    seed = reader.integer("seed", in: 0...Int(Int32.max)) ?? seed
    quantity = reader.range("quantity", in: 1...50) ?? quantity
    namedSection = reader.share("named-section") ?? namedSection
    adjacent = reader.share("adjacent") ?? adjacent
    takeFewer = reader.share("take-fewer") ?? takeFewer
    abandon = reader.share("abandon") ?? abandon
    cancel = reader.share("cancel") ?? cancel
    declined = reader.share("declined") ?? declined
    doubleClick = reader.share("double-click") ?? doubleClick
    thinkMilliseconds = reader.integer("think", in: 0...600_000) ?? thinkMilliseconds
    buys = reader.has("buy")
    rejoins = reader.has("rejoin")
    arrivalsPerSecond = reader.integer("arrivals", in: 1...1_000_000)
    connections = reader.integer("connections", in: 1...10_000) ?? connections
    waitSeconds = reader.integer("wait", in: 0...25) ?? waitSeconds
    secondsLimit = reader.integer("seconds-limit", in: 1...86_400) ?? secondsLimit
    settleSeconds = reader.integer("settle", in: 0...86_400) ?? settleSeconds
    chaosSeconds = reader.integer("chaos", in: 1...86_400)
    restart = reader.text("restart") ?? restart
    audits = !reader.has("no-audit")
    measuresFreshness = !reader.has("no-freshness")
    asJSON = reader.has("json")
    var problems: [String] = []
    if let name = reader.text("client") {
      if let known = Client(rawValue: name) {
        client = known
      } else {
        problems.append("--client is own or curl")
      }
    }
    if reader.text("buyers") == nil { problems.append("--buyers is missing") }
    if (reader.text("chaos") == nil) != restart.isEmpty {
      problems.append("--chaos and --restart need each other")
    }
    if abandon + cancel > 1 { problems.append("--abandon and --cancel together are at most 100%") }
    let event = reader.integer("event", in: 1...Int(Int32.max))
    let seats = reader.integer("create", in: 1...200_000)
    switch (event, seats) {
    case (let event?, nil): place = .event(event)
    case (nil, let seats?): place = .create(seats: seats)
    default:
      // A value that is wrong is said already.
      if (reader.text("event") == nil) == (reader.text("create") == nil) {
        problems.append("either --event or --create is needed")
      }
    }
    problems = reader.problems + problems
    if !problems.isEmpty { throw Problems(list: problems) }
  }

  /// A buyer costs about 100 bytes here, and positions are kept in 32 bits.
  private static let mostBuyers = 10_000_000

  package struct Problems: Error {
    package let list: [String]
  }
}
