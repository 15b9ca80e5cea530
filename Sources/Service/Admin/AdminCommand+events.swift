import Archive
import EventLoop
import Foundation
import HTTPCommon
import Identity
import JSON
import Ledger
import Queue
import Sale
import Text

extension AdminCommand {
  func createEvent(_ arguments: inout Arguments) async throws {
    let opens = arguments.flag("open")
    let owner = try owner(&arguments)
    let path = try arguments.next("the file")
    try arguments.finish()
    let text = try Self.read(path)
    var draft: EventDraft
    do throws(Problem) { draft = try EventInput.draft(Fields(file: text)) } catch {
      throw Failure.file(error.detail)
    }
    draft.owner = owner
    try await withServers { [draft] servers in
      let (id, isNew) = try await servers.events.create(draft, by: who)
      if opens {
        let settings = try await servers.events.move(event: id, to: .open, by: who)
        try await servers.events.publish(settings, to: servers.queue)
      }
      if !isNew { Self.note("an event of this key was there already") }
      print(id)
    }
  }

  /// Whose the events are that are made: the person's at the terminal, unless it is said.
  private func owner(_ arguments: inout Arguments) throws(Failure) -> EventOwner {
    EventOwner(
      user: try arguments.option("owner").map(Self.user) ?? who,
      organizations: try Self.organizations(&arguments))
  }

  /// As tokens name them. One that no token can have would share with nobody.
  private static func organizations(_ arguments: inout Arguments) throws(Failure) -> [String] {
    var names: [String] = []
    while let name = try arguments.option("organization") {
      guard ClaimMapping.isOrganization(name), names.count < ClaimMapping.organizationsKept else {
        throw .usage(
          "--organization takes a name of up to \(ClaimMapping.organizationBytes) bytes without control characters, "
            + "and there may be \(ClaimMapping.organizationsKept)")
      }
      if !names.contains(name) { names.append(name) }
    }
    return names
  }

  private static func user(_ text: String) throws(Failure) -> String {
    guard !text.isEmpty, text.count <= TokenVerifier.maximumUserCharacters,
      !text.unicodeScalars.contains(where: \.steersText)
    else {
      throw .usage(
        "a user is the `sub` of their tokens, of 1 to \(TokenVerifier.maximumUserCharacters) characters")
    }
    return text
  }

  func setOwner(_ arguments: inout Arguments) async throws {
    let event = try arguments.event()
    let isAlone = arguments.flag("alone"), named = try Self.organizations(&arguments)
    guard !isAlone || named.isEmpty else { throw Failure.usage("--alone is without --organization") }
    let organizations = isAlone || !named.isEmpty ? named : nil
    let user = try Self.user(try arguments.next("the user"))
    try arguments.finish()
    try await withServers { servers in
      try await servers.events.setOwner(event: event, user, organizations: organizations, by: who)
      print("event \(event) is \(user)'s")
    }
  }

  func importFile(_ arguments: inout Arguments) async throws {
    if let path = try arguments.option("events") {
      let owner = try owner(&arguments)
      try arguments.finish()
      return try await importEvents(path, owner)
    }
    guard let word = try arguments.option("tickets") else {
      throw Failure.usage("say --events FILE, or --tickets ID FILE")
    }
    let id = try Arguments.event(word)
    var terms = SeatingPlan.Terms(), mistakes: [String] = []
    while let text = try arguments.option("price") {
      if let (category, price) = TicketUpload.pair(text, in: 0...Limits.ticketPrice) {
        terms.prices[category] = price
      } else {
        mistakes.append(
          "--price takes a category and its price in minor units, such as Stalls:4500, not \"\(text)\"")
      }
    }
    let charset = try arguments.option("charset")
    while let text = try arguments.option("capacity") {
      if let (area, capacity) = TicketUpload.pair(text, in: 1...Limits.ticketsPerEvent) {
        terms.capacities[area] = capacity
      } else {
        mistakes.append(
          "--capacity takes a standing area and how many people it takes, such as Floor:300, not \"\(text)\"")
      }
    }
    if !mistakes.isEmpty { throw Failure.usage(mistakes.joined(separator: "\n")) }
    let path = try arguments.next("the file")
    try arguments.finish()
    let bytes = try Self.read(path)
    let isTable = [".csv", ".tsv", ".txt"].contains { path.lowercased().hasSuffix($0) }
    func read(_ currency: Currency?) throws(Failure) -> TicketUpload.Tickets {
      do throws(Problem) {
        if !isTable {
          var findings = Findings()
          let tickets = TicketUpload.whole(try Fields(file: bytes), terms, &findings)
          try findings.finish()
          return tickets
        }
        let text = try CSVText.read(bytes, type: charset.map { "text/csv; charset=\($0)" } ?? "")
        return try SeatTable.tickets(text, currency: currency)
      } catch { throw Failure.file(error.detail) }
    }
    // What needs no event is told without a server.
    if !isTable { _ = try read(nil) }
    try await withServers { servers in
      let currency = try await servers.events.owner(event: id).flatMap { Currency(code: $0.currency) }
      let tickets = try read(currency)
      let added = try await servers.events.addTickets(
        event: id, tickets.sections, drawing: tickets.drawing, by: who)
      if let settings = try await servers.events.settings(event: id) {
        try await servers.events.publish(settings, to: servers.queue)
      }
      print("\(added.count) tickets added")
    }
  }

  /// Every line is checked before the first event is made. What is wrong in any is told of all, and stops all.
  private func importEvents(_ path: String, _ owner: EventOwner) async throws {
    let lines = try Self.read(path).split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    var drafts: [EventDraft] = [], findings = Findings()
    for (index, line) in lines.enumerated() where line.contains(where: { $0 > 0x20 }) {
      do throws(Problem) {
        var draft = try EventInput.draft(Fields(file: Array(line)))
        draft.owner = owner
        drafts.append(draft)
      } catch {
        findings.note(error, in: "Line \(index + 1)")
      }
    }
    do throws(Problem) { try findings.finish() } catch { throw Failure.file(error.detail) }
    guard !drafts.isEmpty else { throw Failure.file("there is no event in the file") }
    try await withServers { servers in
      var made = 0
      for draft in drafts {
        if try await servers.events.create(draft, by: who).isNew { made += 1 }
      }
      print("\(made) events made, \(drafts.count - made) were there already")
    }
  }

  private static func read(_ path: String) throws(Failure) -> [UInt8] {
    if path == "-" { return Array(FileHandle.standardInput.readDataToEndOfFile()) }
    do {
      return Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    } catch {
      throw .file("\(path) cannot be read")
    }
  }

  private static func note(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }

  // MARK: Steering

  func move(
    _ arguments: inout Arguments, to state: EventState, from: Set<EventState>? = nil, stops: Bool = false
  ) async throws {
    let despite = state == .open && arguments.flag("despite")
    let id = try arguments.event()
    try arguments.finish()
    try await change { events in
      try await events.move(event: id, to: state, from: from, stops: stops, despite: despite, by: who)
    }
  }

  func postpone(_ arguments: inout Arguments) async throws {
    let keepsOpen = arguments.flag("keep-open")
    let id = try arguments.event()
    try arguments.finish()
    try await change { events in try await events.postpone(event: id, keepsOpen: keepsOpen, by: who) }
  }

  func setDate(_ arguments: inout Arguments) async throws {
    let id = try arguments.event()
    let text = try arguments.next("the time")
    try arguments.finish()
    try await change { events in
      guard let event = try await events.event(id) else { throw Self.noEvent }
      var changes = EventChanges()
      do throws(Problem) {
        // Seconds are nothing that people write.
        let isShort = text.wholeMatch(of: /[0-9-]{10}T[0-9]{2}:[0-9]{2}/) != nil
        changes.endsPostponement = true
        changes.date = try EventInput.date(
          isShort ? text + ":00" : text, in: event.timeZone.flatMap { VenueZone($0) })
      } catch { throw Failure.usage(error.detail) }
      return try await events.update(event: id, changes, by: who)
    }
  }

  func setMessage(_ arguments: inout Arguments) async throws {
    let id = try arguments.event()
    let message = try arguments.next("the message")
    try arguments.finish()
    guard message.utf8.count <= Limits.messageBytes,
      !message.unicodeScalars.contains(where: \.steersText)
    else { throw Failure.usage("the message has over \(Limits.messageBytes) bytes, or control characters") }
    try await change { events in try await events.setMessage(event: id, message, by: who) }
  }

  func setRate(_ arguments: inout Arguments) async throws {
    let id = try arguments.event()
    let word = try arguments.next("the rate")
    try arguments.finish()
    var rate: Int?
    if word != "unlimited" {
      guard let number = Int(word), Limits.rate.contains(number) else {
        throw Failure.usage(
          "the rate must be `unlimited` or from \(Limits.rate.lowerBound) to \(Limits.rate.upperBound)")
      }
      rate = number
    }
    try await change { events in try await events.setRate(event: id, rate, by: who) }
  }

  func setPrice(_ arguments: inout Arguments) async throws {
    let event = try arguments.event()
    let section = try arguments.next("the section")
    let word = try arguments.next("the price")
    guard let price = Int(word), (0...Limits.ticketPrice).contains(price) else {
      throw Failure.usage("\"\(word)\" is not a price in minor units, such as 4500")
    }
    var tickets: [Int] = []
    while let word = arguments.optional() {
      guard let ticket = Int(word), ticket > 0 else {
        throw Failure.usage("\"\(word)\" is not a ticket's number")
      }
      tickets.append(ticket)
    }
    try await withServers { servers in
      let selection: EventStore.Selection =
        tickets.isEmpty ? .row(section: section, row: nil, seats: []) : .tickets(tickets)
      let (changed, kept) = try await servers.events.setPrice(event: event, selection, price, by: who) {
        try await servers.queue.settings.barGrants(event: event, ticketsVersion: $0)
      }
      if let settings = try await servers.events.settings(event: event) {
        try await servers.events.publish(settings, to: servers.queue)
      }
      print("\(changed) tickets cost \(price) from now on, \(kept) keep their price")
    }
  }

  private func change(_ body: @LoopActor (EventStore) async throws -> EventSettings) async throws {
    try await withServers { servers in
      let settings = try await body(servers.events)
      try await servers.events.publish(settings, to: servers.queue)
      print("event \(settings.id) is \(settings.shownState)")
    }
  }
}
