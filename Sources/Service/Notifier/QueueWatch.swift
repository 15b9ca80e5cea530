import Archive
package import EventLoop
import HTTPCommon
import Identity
package import Logging
package import Queue
package import Redis
package import Sale
import StoreCommon

/// What a process knows about the queues that its clients ask for, kept fresh by what Redis publishes.
///
/// A client in line is answered from here without asking anybody. Published changes may get lost with a
/// connection; so a document in use is also read again every second, and after each subscription.
@LoopActor
package final class QueueWatch {
  /// How old a document in use may become, in milliseconds, before it is read again.
  private static let freshMilliseconds: UInt64 = 1_000
  /// Events watched at once; the least recently asked for are forgotten beyond it.
  private static let eventLimit = 10_000
  /// How often, and how far apart, another Redis is told what was held before.
  private static let comparisons = 20
  private static let comparisonMilliseconds: UInt64 = 500
  /// A process that has not run for so long (stopped, or its machine was) may have missed what others told meanwhile.
  private static let standstillMilliseconds: UInt64 = 2_000
  private static let beatMilliseconds: UInt64 = 500

  private let queue: QueueStore
  private let logger: Logger
  private let lastPaid: @LoopActor (_ event: Int, _ generation: Int) async throws -> Int
  private let ends:
    @LoopActor (_ event: Int, _ generation: Int) async throws -> [RequestRecord.State: PositionSet]
  private var events: [Int: EventWatch] = [:]
  private var subscriber: RedisSubscriber?
  private let beat = LoopTimer()
  /// When this process was certainly running.
  private var ranAt = EventLoop.shared.now
  /// The connection to Redis that was there when that was noticed last.
  private var connection: UInt64 = 0
  /// Which Redis that was, when it was asked last.
  private var server: String?

  /// What is known of a life of an event's queue, whatever Redis has forgotten:
  /// - Parameters:
  ///   - lastPaid: the last position for which a payment was begun.
  ///   - ends: the places that ended without a purchase.
  package init(
    queue: QueueStore, redis: RedisConfiguration, logger: Logger,
    lastPaid: @escaping @LoopActor (_ event: Int, _ generation: Int) async throws -> Int = { _, _ in 0 },
    ends:
      @escaping @LoopActor (_ event: Int, _ generation: Int) async throws
      -> [RequestRecord.State: PositionSet] = { _, _ in [:] }
  ) {
    self.queue = queue
    self.logger = logger
    self.lastPaid = lastPaid
    self.ends = ends
    subscriber = RedisSubscriber(
      redis, channels: Partition.all.map(\.changes), logger: logger,
      onSubscribed: { [weak self] in self?.distrustEverything() },
      onMessage: { [weak self] _, message in self?.receive(message) })
  }

  package func start() {
    ranAt = EventLoop.shared.now
    subscriber?.start()
    beat.schedule(afterMilliseconds: Self.beatMilliseconds, every: Self.beatMilliseconds) { [weak self] in
      self?.noticeStandstill()
    }
  }

  package func stop() {
    beat.cancel()
    subscriber?.close()
    wakeAll()
  }

  /// Ends all long polls, so that a server that stops need not wait for them.
  package func wakeAll() {
    for event in events.values { event.wakeAll() }
  }

  private func distrustEverything() {
    for event in events.values { event.distrust() }
    // Ends by itself: some reads, each with the client's deadline, and a bounded number of tries. A Redis that has just
    // come back refuses the first of them.
    Task { @LoopActor in
      for _ in 0..<Self.comparisons {
        do {
          try await queue.buyers.markOlderCopiesLost()
          try await showHolds()
          return logger.worksAgain("lines were not compared with what they were")
        } catch {
          logger.retrying("lines were not compared with what they were", ["error": "\(error)"])
        }
        try? await sleep(milliseconds: Self.comparisonMilliseconds)
      }
    }
  }

  /// Another Redis, or itself after a restart, may have forgotten holds that were told here.
  private func showHolds() async throws {
    let server = try await queue.reader.serverIdentity()
    let isAnother = self.server != nil && self.server != server
    for event in events.values {
      if isAnother, !event.holdsTold.isEmpty {
        do {
          try await queue.buyers.show(event: event.event, Array(event.holdsTold.values))
        } catch let error as StoreError where error.code == .noQueue {
          // Lost as a whole: who comes back into the next one shows what was held.
        }
      }
      event.forgetHoldsTold()
    }
    self.server = server
  }

  private func receive(_ message: [UInt8]) {
    guard let change = QueueChange(message), let event = events[change.event] else { return }
    event.apply(change)
  }

  /// Asked before anything is told from memory, too: clients may be heard before the timer is.
  private func noticeStandstill() {
    let now = EventLoop.shared.now
    if now >= ranAt + Self.standstillMilliseconds {
      logger.retrying("stood still", level: .notice, ["milliseconds": Int(now - ranAt)])
      for event in events.values { event.distrust() }
    } else if connection != queue.redis.readySince {
      // It may be another Redis, and be asked for records before the subscription is there.
      for event in events.values { event.distrust() }
    }
    connection = queue.redis.readySince
    ranAt = now
  }

  /// The watch of an event if its document is in memory, and nothing speaks against it; refreshes it in the background
  /// when it is getting old.
  package func known(_ event: Int) -> EventWatch? {
    noticeStandstill()
    guard let watch = events[event], watch.document != nil, !watch.isDistrusted else { return nil }
    watch.lastUse = EventLoop.shared.now
    if EventLoop.shared.now >= watch.readAt + Self.freshMilliseconds { refreshLater(watch) }
    return watch
  }

  /// Whether Redis had no queue for the event when it was asked a moment ago: of a new one we would have heard.
  package func isAbsent(_ event: Int) -> Bool {
    guard let watch = events[event], watch.document == nil, watch.absentSince == watch.trust else {
      return false
    }
    return EventLoop.shared.now < watch.readAt + Self.freshMilliseconds
  }

  /// The watch of an event with its document read, or `nil` where Redis has no queue for it.
  package func watch(_ event: Int) async throws -> EventWatch? {
    if let watch = known(event) { return watch }
    let watch = events[event] ?? EventWatch(event: event)
    if events[event] == nil {
      makeRoom()
      events[event] = watch
    }
    watch.lastUse = EventLoop.shared.now
    try await read(watch)
    try await assure(watch)
    return watch.document == nil ? nil : watch
  }

  /// Reads the document again if there is reason to think that changes were missed.
  func assure(_ watch: EventWatch) async throws {
    noticeStandstill()
    // A read that began before is no answer; a third reason meanwhile is for the next to ask.
    for _ in 0..<2 where watch.isDistrusted && watch.document != nil {
      try await read(watch)
      noticeStandstill()
    }
  }

  private func makeRoom() {
    guard events.count >= Self.eventLimit else { return }
    let idle = events.values.filter { $0.waiters.isEmpty }.sorted { $0.lastUse < $1.lastUse }
    for watch in idle.prefix(Self.eventLimit / 10) { events[watch.event] = nil }
  }

  private func refreshLater(_ watch: EventWatch) {
    guard !watch.isReading else { return }
    // Owned by nobody because it ends by itself: one read with the client's deadline.
    Task { @LoopActor in
      do {
        try await read(watch)
      } catch {
        // What is known stays in use: stale is better than nothing, and clients in line lose nothing.
        watch.readAt = EventLoop.shared.now
      }
    }
  }

  /// Several callers share one read.
  private func read(_ watch: EventWatch) async throws {
    if let underWay = watch.reading { return try await underWay.value }
    let task = Task { @LoopActor in
      defer { watch.reading = nil }
      let doubts = watch.doubts
      let document = try await queue.reader.document(event: watch.event)
      var marks: [Int: LineMark]?, apart: [UInt8]?
      var doubt = Doubt()
      if let document {
        if watch.needsComparison { doubt = try await self.doubt(document, of: watch.event) }
        // After the document: so they are not behind it.
        if watch.needsMarks(document) { marks = try await queue.reader.marks(event: watch.event) }
        if watch.needsPlacesApart(document) { apart = try await queue.reader.placesApart(event: watch.event) }
      }
      watch.readAt = EventLoop.shared.now
      watch.replace(
        document, marks: marks, apart: apart, doubt: doubt, doubts: doubts)
    }
    watch.reading = task
    try await task.value
  }

  /// What Redis may have forgotten and PostgreSQL knows: nothing, once the event's owner has compared them since Redis came
  /// back.
  private func doubt(_ document: QueueDocument, of event: Int) async throws -> Doubt {
    if try await queue.reader.isCompared(event: event) { return Doubt() }
    do {
      return Doubt(
        upTo: try await lastPaid(event, document.generation), ends: try await ends(event, document.generation)
      )
    } catch {
      // Without PostgreSQL it may be anybody.
      return Doubt(upTo: Int.max)
    }
  }

  /// The record of a decided request: from memory, else one read.
  package func record(_ watch: EventWatch, _ position: Int) async throws -> RequestRecord? {
    if let record = watch.records.value(of: position) { return record }
    let trust = watch.trust, connection = queue.redis.readySince
    let record = try await queue.reader.record(event: watch.event, position: position)
    // It may be of another Redis than the one that was doubted last.
    guard queue.redis.readySince == connection else {
      throw RedisError(.connectionLost, "another connection meanwhile")
    }
    // A change that was published while the read was under way may be newer than what was read.
    if let record, watch.trust == trust { watch.remember(record, at: position) }
    return record
  }

  /// Events that have a queue, as of a second ago at most.
  private lazy var live = FreshCache<Int, [Int]>(capacity: 1) { [queue] _, _ in
    try await queue.reader.liveEvents()
  }

  /// A user's places at the events made last, and whether those are all events that there are.
  func places(of userKey: String) async throws -> (places: [QueueReader.OwnPlace], areAll: Bool) {
    let events = try await live.answer(0)?.value ?? []
    let places = try await queue.reader.places(of: userKey, events: events.prefix(QueueReader.eventsLookedAt))
    return (places, events.count <= QueueReader.eventsLookedAt)
  }

  /// Shows the owner of the seats what was held for a place. - Returns: whether it is lost.
  func isLost(_ hold: HoldReceipt, _ id: RequestID) async throws -> Bool {
    try await queue.buyers.show(event: id.event, [ShownHold(hold, of: id)]) == [.lost]
  }

  /// The line in which a user waits with this place, where its id does not know.
  func line(_ watch: EventWatch, _ position: Int, userKey: String) async throws -> Int? {
    try await queue.reader.line(event: watch.event, position: position, userKey: userKey)
  }

  /// How old what is known of Redis's clock may be, in milliseconds: it may have been put right since.
  private static let clockMilliseconds: (known: UInt64, read: UInt64) = (5_000, 1_000)

  /// Whether it is known what time it is for the event's holds.
  package func knowsTime(_ event: Int) -> Bool {
    queue.reader.knowsClock(Partition(of: event), within: Self.clockMilliseconds.known)
  }

  /// Looks what time it is for the event's holds, unless somebody did a moment ago.
  package func lookAtTime(_ event: Int) async throws {
    try await queue.reader.lookAtClock(Partition(of: event), within: Self.clockMilliseconds.read)
  }

  /// For how many whole seconds a hold of the event lasts.
  /// - Parameter deadline: milliseconds since 1970 on the event's clock, which stands still while its sale does.
  package func secondsLeft(_ event: Int, deadline: Int) -> Int {
    max(0, deadline - eventTime(event, at: now(event))) / 1_000
  }

  /// When a hold ends, in milliseconds since 1970, if the sale does not stand still any longer.
  package func end(_ event: Int, deadline: Int) -> Int {
    let now = now(event)
    return now + deadline - eventTime(event, at: now)
  }

  private func now(_ event: Int) -> Int { queue.clock.now(Partition(of: event)) ?? WallClock.milliseconds }

  private func eventTime(_ event: Int, at now: Int) -> Int {
    events[event]?.document?.eventTime(at: now) ?? now
  }

  /// The life of the queue, and the record of a request, as Redis has them now, whatever is remembered; `nil`
  /// where it has no queue for the event.
  package func readAgain(_ watch: EventWatch, _ position: Int) async throws -> (
    generation: Int, record: RequestRecord?
  )? {
    let connection = queue.redis.readySince
    guard let document = try await queue.reader.document(event: watch.event) else { return nil }
    let trust = watch.trust
    let record = try await queue.reader.record(event: watch.event, position: position)
    watch.records.remove(position)
    // Both of one Redis, and not of the one that was there before.
    guard queue.redis.readySince == connection else {
      throw RedisError(.connectionLost, "another connection meanwhile")
    }
    if let record, watch.trust == trust { watch.remember(record, at: position) }
    return (document.generation, record)
  }
}

/// What a Redis that came back may have forgotten.
struct Doubt {
  /// The last position that may have been paid for.
  var upTo = 0
  /// Places that had ended without a purchase.
  var ends: [RequestRecord.State: PositionSet] = [:]
}

/// One event's queue, as far as this process has heard.
@LoopActor
package final class EventWatch {
  private static let recordLimit = 50_000

  package let event: Int
  package private(set) var document: QueueDocument?
  fileprivate var records = RecentValues<Int, RequestRecord>(capacity: EventWatch.recordLimit)
  /// Where lines stand, by their numbers.
  private var marks: [Int: LineMark] = [:]
  /// Places that have a record or wait alone although their line says otherwise, as a bitmap; and which of them are in it:
  /// as many as `QueueDocument.apart` says.
  private var apart: [UInt8] = []
  private var apartKnown = 0
  /// Grows whenever something that was read before may be outdated.
  fileprivate var trust = 0
  fileprivate var readAt: UInt64 = 0
  /// `trust`, when Redis was last found to have no queue for the event.
  fileprivate private(set) var absentSince: Int?
  /// Whether changes may have been missed since the document was read: it is read again before anybody is told from it.
  fileprivate private(set) var isDistrusted = false
  /// Redis may have come back without what PostgreSQL knows, and nobody has compared them yet.
  private var doubt = Doubt()
  package var doubtfulUpTo: Int { doubt.upTo }
  private var wasCompared = false
  /// How often that was so.
  fileprivate private(set) var doubts = 0
  fileprivate var lastUse: UInt64 = 0
  fileprivate var reading: Task<Void, any Error>?
  fileprivate var waiters: [Int: [Waiter]] = [:]
  /// The answer for everyone who asks about the queue as a whole, made once a document.
  package var sharedAnswer: (document: QueueDocument, bytes: [UInt8])?

  fileprivate init(event: Int) { self.event = event }

  fileprivate var isReading: Bool { reading != nil }

  /// The status of a request that can be told from memory; `nil` if its record must be read.
  package func status(_ position: Int, _ wish: WishPlace?) -> RequestStatus? {
    guard let document else { return nil }
    if let ended = endedBefore(position) { return ended }
    guard position > doubtfulUpTo else { return nil }
    if let record = records.value(of: position) {
      return RequestStatus(position: position, document: document, record: record)
    }
    // Without its line nothing is certain but that it was not its turn yet.
    guard wish != nil || position > document.head, !Bitmap.contains(apart, position) else { return nil }
    return RequestStatus(unread: position, wish: wish, document: document, mark: mark(wish))
  }

  /// How the place had ended, where Redis may have forgotten that.
  package func endedBefore(_ position: Int) -> RequestStatus? {
    doubt.ends.first { $1.contains(position) }.map { RequestStatus(ended: $0.key) }
  }

  /// The status of a request that has no record; `nil` when there should be one.
  package func statusWithoutRecord(_ position: Int, _ wish: WishPlace?) -> RequestStatus? {
    document.flatMap { RequestStatus(position: position, wish: wish, document: $0, mark: mark(wish)) }
  }

  private func mark(_ wish: WishPlace?) -> LineMark? { wish.flatMap { marks[$0.line] } }

  fileprivate func apply(_ change: QueueChange) {
    trust += 1
    for position in change.positions { records.remove(position) }
    for position in change.apart { setApart(position) }
    if change.document.apart == apartKnown + change.apart.count { apartKnown = change.document.apart }
    let isOfThisLife = adopt(change.document)
    if isOfThisLife { adopt(change.marks) }
    for position in change.positions { wake(position) }
  }

  private func setApart(_ position: Int) {
    guard position > 0, position <= Limits.queueLimit * 2 else { return }
    let byte = position >> 3
    if byte >= apart.count { apart += Array(repeating: 0, count: byte + 1 - apart.count) }
    apart[byte] |= 0x80 >> UInt8(position & 7)
  }

  fileprivate var needsComparison: Bool {
    isDistrusted || !wasCompared || doubt.upTo > 0 || !doubt.ends.isEmpty
  }

  fileprivate func needsMarks(_ read: QueueDocument) -> Bool {
    isDistrusted || document.map { $0.generation != read.generation || $0.version != read.version } ?? true
  }

  fileprivate func needsPlacesApart(_ read: QueueDocument) -> Bool {
    isDistrusted || document.map { $0.generation != read.generation } ?? true || read.apart != apartKnown
  }

  /// - Parameters:
  ///   - marks: read after the document; `nil` where they were not read, as are places apart.
  ///   - doubts: as they were when the read began.
  fileprivate func replace(
    _ document: QueueDocument?, marks: [Int: LineMark]?, apart: [UInt8]?, doubt: Doubt, doubts: Int
  ) {
    if needsComparison, doubts == self.doubts {
      self.doubt = doubt
      wasCompared = document != nil
    }
    guard let document else {
      self.document = nil
      forget()
      absentSince = doubts == self.doubts ? trust : nil
      return
    }
    // After a new connection what Redis says counts, even if it says less than before.
    if isDistrusted, doubts == self.doubts {
      self.document = nil
      self.marks = [:]
      isDistrusted = false
    }
    guard adopt(document) else { return }
    if let marks { adopt(marks) }
    if let apart {
      // What was heard since the read began stays.
      if apart.count > self.apart.count {
        self.apart += Array(repeating: 0, count: apart.count - self.apart.count)
      }
      for (index, byte) in apart.enumerated() { self.apart[index] |= byte }
      apartKnown = max(apartKnown, document.apart)
    }
  }

  private func adopt(_ new: [Int: LineMark]) {
    for (line, mark) in new where mark.version >= marks[line]?.version ?? 0 {
      let hasEnded = mark.ends.last != marks[line]?.ends.last
      marks[line] = mark
      // Nobody is told by name.
      if hasEnded { wakeAll() }
    }
  }

  /// The queue is gone, or another one: what was known of its places says nothing about those of the next.
  private func forget() {
    trust += 1
    records.removeAll()
    marks = [:]
    apart = []
    apartKnown = 0
    wakeAll()
  }

  /// - Returns: whether it is of the life of the queue that is known now.
  @discardableResult
  private func adopt(_ new: QueueDocument) -> Bool {
    if new.isLost {
      document = nil
      forget()
      return false
    }
    let isSameLife = document?.generation == new.generation
    // Published documents and read ones come over different connections: never go back.
    if let document, isSameLife, new.version < document.version { return true }
    let old = document
    document = new
    if old != nil, !isSameLife { forget() }
    if new.soldOutUpTo > old?.soldOutUpTo ?? 0 || new.closedUpTo > old?.closedUpTo ?? 0 { wakeAll() }
    return true
  }

  fileprivate func remember(_ record: RequestRecord, at position: Int) {
    records.set(record, for: position)
  }

  /// What was held when changes were missed, as far as it was told here, and in which life.
  fileprivate private(set) var holdsTold: [Int: ShownHold] = [:]

  fileprivate func forgetHoldsTold() { holdsTold = [:] }

  private func keepHolds() {
    guard let document else { return }
    for (position, record) in records.all
    where record.deadline > 0 && (record.state == .reserved || record.state == .declined) {
      holdsTold[position] = ShownHold(
        position: position, userKey: record.userKey, generation: document.generation,
        deadline: record.deadline, amount: record.amount, tickets: record.tickets)
    }
  }

  /// Changes may have been missed: forget what only they would have corrected.
  fileprivate func distrust() {
    keepHolds()
    trust += 1
    readAt = 0
    records.removeAll()
    isDistrusted = true
    doubts += 1
    wakeAll()
  }

  // MARK: Long polls

  /// Listens for changes of `position` from now on. Register before looking, so that no change is missed.
  package func listen(to position: Int) -> Waiter {
    let waiter = Waiter()
    waiters[position, default: []].append(waiter)
    return waiter
  }

  package func stopListening(_ waiter: Waiter, to position: Int) {
    waiters[position]?.removeAll { $0 === waiter }
    if waiters[position]?.isEmpty == true { waiters[position] = nil }
  }

  private func wake(_ position: Int) {
    for waiter in waiters[position] ?? [] { waiter.wake() }
  }

  fileprivate func wakeAll() {
    for list in waiters.values { for waiter in list { waiter.wake() } }
  }
}

/// One client that waits for a change.
@LoopActor
package final class Waiter {
  private let timer = LoopTimer()
  private var continuation: UnsafeContinuation<Void, Never>?
  private var wasWoken = false

  /// Returns at a change since the last call, or after the time.
  package func wait(milliseconds: UInt64) async {
    await withUnsafeContinuation { continuation in
      if wasWoken { return continuation.resume() }
      self.continuation = continuation
      timer.schedule(afterMilliseconds: milliseconds) { [weak self] in self?.wake() }
    }
    wasWoken = false
  }

  fileprivate func wake() {
    wasWoken = true
    timer.cancel()
    continuation?.resume()
    continuation = nil
  }
}
