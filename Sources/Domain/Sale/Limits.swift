/// Every limit of the domain, by name. Past a limit the client gets a clear 4xx; nothing is cut off silently.
package enum Limits {
  /// Seats one request may ask for. A lower one is set per event (`per_user_limit`).
  package static let ticketsPerRequest = 50

  // MARK: Events

  package static let sectionsPerEvent = 1_000
  package static let ticketsPerEvent = 200_000
  /// Ticket ids are bits of a bitmap.
  package static let ticketID = 1_000_000
  package static let rowsPerSection = 2_000
  /// Highest price of one ticket, in minor units, that is read at all; what a currency allows is less (`Currency`).
  package static let ticketPrice = 999_999_999_999
  /// Highest amount of one request, in minor units.
  package static let requestAmount = ticketPrice * ticketsPerRequest
  /// How often one user may give up a place of one event, by cancelling or by letting a hold expire: each leaves a record
  /// in Redis, and keeps seats from others meanwhile.
  package static let placesLeft = 100
  /// How often places of one user at one event may come to nothing without their doing, as when the seats asked for are
  /// taken: each leaves a record in Redis. More than anybody's patience.
  package static let placesRefused = 1_000
  /// Kinds of wishes that may be in line for one event; each has a line of its own. More than any event has sections,
  /// numbers of seats, and both ways of sitting, but for a few.
  package static let wishesPerEvent = 10_000
  /// How long whose wish ended for want of seats may answer with a smaller or looser one and keep the place, in seconds.
  package static let endAnswerSeconds = 60
  /// Places that were kept so and wait by themselves, at once.
  package static let waitingAlone = 1_000
  /// Payments that may be tried for one hold.
  package static let paymentAttempts = 10
  /// Highest depth an event's queue may be configured to.
  package static let queueLimit = 10_000_000
  package static let defaultQueueLimit = 1_000_000
  package static let defaultPerUserLimit = 4
  /// Seconds a buyer has to pay.
  package static let holdSeconds = 10...7_200
  package static let defaultHoldSeconds = 480
  /// Grants per second an operator may meter to.
  package static let rate = 0...1_000_000

  // MARK: Texts, in UTF-8 bytes

  /// A character of any script, accents and all; a few are longer, and then there may be fewer of them.
  package static let bytesPerCharacter = 12

  /// Of events, places, sections, people; whatever the script, in characters as people count them.
  package static let nameCharacters = 200
  package static let nameBytes = nameCharacters * bytesPerCharacter
  /// Of an event at its source.
  package static let keyBytes = 300
  /// The longest name in the IANA database has 32.
  package static let timeZoneBytes = 64
  package static let descriptionBytes = 20_000
  package static let sectionNameBytes = nameBytes
  package static let seatLabelCharacters = 50
  package static let messageBytes = 500
  package static let emailBytes = 320
  package static let passwordBytes = 8...200
  package static let paymentMethodBytes = 200
  package static let idempotencyKeyBytes = 255

  // MARK: Search and polling

  package static let searchTermsBytes = 200
  package static let searchLocationBytes = 300
  /// Words of a query that are looked at; those behind are ignored.
  package static let searchWords = 12
  package static let searchHits = 1...100
  package static let defaultSearchHits = 20
  /// Matches of a search that are counted, and ranked; where there are more, hits come in the order of their dates.
  package static let searchRanked = 5_000
  package static let cursorBytes = 200
  /// Longest long poll, in seconds.
  package static let longPollSeconds = 25
  /// For so long at most nobody is granted seats while prices change.
  package static let priceBarMilliseconds = 5_000
}
