import Sale
import Testing

@Suite("A line of those who sign in")
struct PasswordLineTests {
  private typealias Key = PasswordLine.Key

  /// People who come, are told to come again, and do so as the page does: no sooner, and up to a third later. Time is
  /// counted, not waited for.
  private struct Comers {
    struct Result {
      var tries = 0
      var enteredAt = 0
    }
    static let places = 128

    var random = SeededGenerator(seed: 7)
    var line = PasswordLine(places: Comers.places)
    /// Milliseconds of a password.
    var each = 45
    var mostInside = 0

    /// - Parameter comers: when each comes for the first time, in milliseconds, and from which client.
    /// - Returns: how it went for each.
    mutating func run(_ comers: [(at: Int, client: String)]) -> [Result] {
      var results = [Result](repeating: Result(), count: comers.count)
      var due: [Int: [Int]] = Dictionary(grouping: comers.indices) { comers[$0].at }
      var now = 0, inside: [Int] = [], done = 0, entered = 0, ofClient: [String: Int] = [:]
      while entered < comers.count, now < 3_600_000 {
        if now % each == 0, !inside.isEmpty {
          ofClient[comers[inside.removeFirst()].client, default: 0] -= 1
          done += 1
        }
        for person in (due.removeValue(forKey: now) ?? []).shuffled(using: &random) {
          results[person].tries += 1
          let load = PasswordLine.Load(inside: inside.count, done: done, millisecondsEach: Double(each))
          let client = comers[person].client
          let mayEnter = ofClient[client, default: 0] < line.room(millisecondsEach: Double(each)) / 3
          let key = Key(name: "\(person)", client: client)
          switch line.come(key, load, mayEnter: mayEnter, now: now) {
          case .enter:
            #expect(mayEnter)
            inside.append(person)
            ofClient[client, default: 0] += 1
            entered += 1
            mostInside = max(mostInside, inside.count)
            results[person].enteredAt = now
          case .comeAgain(let seconds):
            let pause = Double(seconds * 1_000) * Double.random(in: 1...1.3, using: &random)
            due[now + Int(pause), default: []].append(person)
          }
        }
        now += 1
      }
      return results
    }
  }

  @Test(
    "5,000 at once come a few times each, are through as soon as they can be, and who came first is first")
  func crowd() {
    var crowd = Comers()
    let comers = (0..<5_000).map { (at: $0 / 5, client: "c\($0)") }
    let results = crowd.run(comers)
    let tries = results.map(\.tries)
    #expect(Double(tries.reduce(0, +)) / 5_000 <= 4.5, "\(tries.reduce(0, +))")
    #expect(tries.max() ?? 0 <= 10, "\(tries.max() ?? 0)")
    // With somebody at work all the time it takes 225 s.
    let end = results.map(\.enteredAt).max() ?? 0
    #expect(end <= 5_000 * crowd.each * 11 / 10, "\(end)")
    #expect(crowd.mostInside <= Comers.places)
    // The first tenth and the last: whoever came earlier goes in earlier, but for some seconds.
    let first = results.prefix(500).map(\.enteredAt).reduce(0, +) / 500
    let last = results.suffix(500).map(\.enteredAt).reduce(0, +) / 500
    #expect(last > first + 60_000, "\(first) \(last)")
  }

  @Test("When it gets slower inside, nobody's ticket is lost, and few more come in vain")
  func slower() {
    var crowd = Comers()
    crowd.each = 400
    let results = crowd.run((0..<500).map { (at: $0, client: "c\($0)") })
    #expect(results.map(\.tries).max() ?? 0 <= 12)
    #expect(results.map(\.enteredAt).max() ?? 0 <= 500 * 400 * 12 / 10)
  }

  @Test(
    "A client that sends thousands keeps others out for some seconds, and 2,000 behind one address are all through"
  )
  func oneAddress() {
    var crowd = Comers()
    let school = (0..<2_000).map { (at: $0 / 10, client: "school") }
    let others = (0..<50).map { (at: 5_000 + $0 * 100, client: "other \($0)") }
    let results = crowd.run(school + others)
    #expect(results.allSatisfy { $0.enteredAt > 0 || $0.tries == 1 })
    let atSchool = results.prefix(2_000)
    #expect(atSchool.map(\.enteredAt).max() ?? 0 <= 2_000 * crowd.each * 13 / 10)
    #expect(atSchool.map(\.tries).reduce(0, +) <= 2_000 * 5, "\(atSchool.map(\.tries).reduce(0, +))")
    for (result, other) in zip(results.suffix(50), others) {
      #expect(result.enteredAt - other.at <= 15_000, "\(result)")
    }
  }

  @Test("Tickets of those who never come again keep nobody out, and are few")
  func phantoms() {
    var line = PasswordLine(places: 128)
    func come(_ name: String, _ client: String, inside: Int, done: Int = 0, at now: Int = 0)
      -> PasswordLine.Answer
    {
      line.come(
        Key(name: name, client: client),
        PasswordLine.Load(inside: inside, done: done, millisecondsEach: 45), now: now)
    }
    for number in 0..<100_000 { _ = come("\(number)", "bot \(number / 100)", inside: 128) }
    #expect(line.count <= PasswordLine.capacity)
    for number in 0..<1_000 { _ = come("more \(number)", "bot", inside: 128) }
    #expect(line.count <= PasswordLine.capacity)
    // Nobody is inside.
    #expect(come("honest", "home", inside: 0) == .enter(ticket: nil))
    // Nobody came with one of them for a while.
    _ = come("honest", "home", inside: 0, done: 1, at: PasswordLine.forgottenMilliseconds)
    #expect(line.count == 0)
    #expect(
      come("next", "home", inside: 100, done: 1, at: PasswordLine.forgottenMilliseconds)
        == .enter(ticket: nil))
  }

  @Test(
    "Who is called has a place kept, who had none done keeps their ticket, and nobody is told to wait for long"
  )
  func places() {
    var line = PasswordLine(places: 10)
    func come(_ name: String, inside: Int, done: Int) -> PasswordLine.Answer {
      line.come(
        Key(name: name, client: name), .init(inside: inside, done: done, millisecondsEach: 100), now: 0)
    }
    #expect(come("a", inside: 9, done: 0) == .enter(ticket: nil))
    #expect(come("b", inside: 10, done: 0) == .comeAgain(afterSeconds: 1))
    // One is through: the place is kept for who is called, not for whoever comes.
    #expect(come("c", inside: 9, done: 1) == .comeAgain(afterSeconds: 1))
    #expect(come("b", inside: 9, done: 1) == .enter(ticket: 1))
    line.giveBack(Key(name: "b", client: "b"), ticket: 1, now: 0)
    #expect(come("d", inside: 9, done: 1) == .comeAgain(afterSeconds: 1))
    #expect(come("b", inside: 9, done: 1) == .enter(ticket: 1))
    for number in 0..<2_000 { _ = come("x\(number)", inside: 10, done: 1) }
    #expect(come("last", inside: 10, done: 1) == .comeAgain(afterSeconds: PasswordLine.longestPauseSeconds))
  }

  @Test("Who was let in without a ticket, and found no room all the same, is the first to go in")
  func cameOutAgain() {
    var line = PasswordLine(places: 8)
    let key = Key(name: "ann", client: "a")
    #expect(line.come(key, .init(inside: 0, done: 0, millisecondsEach: 100), now: 0) == .enter(ticket: nil))
    let full = PasswordLine.Load(inside: 8, done: 0, millisecondsEach: 100)
    guard case .comeAgain = line.come(Key(name: "ben", client: "b"), full, now: 0) else {
      Issue.record("there was no room")
      return
    }
    line.giveBack(key, ticket: nil, now: 0)
    // One place is free: it is kept for her, who was let in before.
    let free = PasswordLine.Load(inside: 7, done: 0, millisecondsEach: 100)
    for other in [Key(name: "ben", client: "b"), Key(name: "cem", client: "c")] {
      guard case .comeAgain = line.come(other, free, now: 1) else {
        Issue.record("went in before her: \(other)")
        continue
      }
    }
    guard case .enter(let ticket) = line.come(key, free, now: 1) else {
      Issue.record("has lost her turn")
      return
    }
    // And once more.
    line.giveBack(key, ticket: ticket, now: 1)
    #expect(line.come(key, free, now: 2) == .enter(ticket: ticket))
    #expect(line.count == 2)
  }

  @Test("Coming out again makes no more places than a client may have")
  func cameOutAgainAndAgain() {
    var line = PasswordLine(places: 8)
    for number in 0..<1_000 { line.giveBack(Key(name: "\(number)", client: "a"), ticket: nil, now: 0) }
    #expect(line.count == PasswordLine.perClient)
  }
}
