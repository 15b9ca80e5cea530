import Queue
import Sale

/// What PostgreSQL knows of the lives of one event's line that Redis lost. It does not change any more, but that payments
/// which were under way end.
struct LostLine: Sendable {
  struct Life: Sendable {
    /// By the state that they ended in.
    var ended: [RequestRecord.State: PositionSet] = [:]
    /// How the lines ended for everyone in them, by their numbers; 0 for all lines, which were sold out.
    var lineEnds: [Int: [LineEnd]] = [:]
    var bought = PositionSet()
    var paying = PositionSet()
    /// Places that were given out twice, with the key of who was told so.
    var forfeited: Set<Forfeit> = []

    var bytes: Int {
      ended.values.reduce(bought.bytes + paying.bytes + forfeited.count * 64) { $0 + $1.bytes }
    }
  }

  struct LineEnd: Sendable, Equatable {
    let after: Int
    let upTo: Int
    let reason: String
    let left: Int
  }

  struct Forfeit: Hashable, Sendable {
    let position: Int
    let owner: String
  }

  /// The life that the line has now, as far as an owner began it: of earlier ones nothing is bought any more.
  let generation: Int
  /// The first of the lives whose places are taken up again in this one.
  let restoredFrom: Int
  let soldOutSince: Int?
  /// The life that was lost after its sale had been closed.
  let closedIn: Int?
  /// Earlier lives than this are not looked at here.
  let firstKnown: Int
  var lives: [Int: Life] = [:]

  var bytes: Int { lives.values.reduce(0) { $0 + $1.bytes } }

  /// Where a place stood when its line was lost.
  enum Outcome: Equatable {
    /// In line, or its tickets were held.
    case waiting
    /// Ended, and told so.
    case ended(RequestRecord.State)
    /// Ended with everyone in line, or with everyone who wished for the same.
    case soldOut
    case refused(reason: String, left: Int)
    /// Somebody else had it, too, and has it now.
    case forfeited
    /// Bought, or being paid for, by whoever had it last: PostgreSQL says by whom, and how that ends.
    case paid
  }

  /// - Returns: `nil` for a life that is not lost, or too long ago.
  /// - Parameter line: the number of its line in that life, if it is known.
  func outcome(generation: Int, position: Int, owner: String, line: Int?) -> Outcome? {
    guard generation < self.generation, generation >= firstKnown else { return nil }
    // Whoever came back kept the position: how it went on with it is in the later ones of these lives.
    let last = generation >= restoredFrom ? self.generation - 1 : generation
    var outcome = Outcome.waiting
    for number in (generation...last).reversed() {
      guard let life = lives[number] else { continue }
      if life.bought.contains(position) || life.paying.contains(position) { return .paid }
      if life.forfeited.contains(Forfeit(position: position, owner: owner)) { return .forfeited }
      guard outcome == .waiting else { continue }
      if let state = life.ended.first(where: { $1.contains(position) })?.key {
        outcome = .ended(state)
      } else if life.lineEnds[0]?.contains(where: { position <= $0.upTo }) == true {
        outcome = .soldOut
      } else if number == generation, let line,
        let end = life.lineEnds[line]?.first(where: { position > $0.after && position <= $0.upTo })
      {
        outcome = .refused(reason: end.reason, left: end.left)
      }
    }
    return outcome
  }

  /// Whether a place of this life may be taken up again, if it was in line.
  func isRestored(_ generation: Int) -> Bool { restoredFrom..<self.generation ~= generation }
}
