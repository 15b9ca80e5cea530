import Postgres
package import Sale

/// A system outside, and what it is told.
package struct WebhookEndpoint: Sendable, Equatable {
  package let id: Int
  package var url: String
  /// None for all.
  package var types: Set<WebhookType>
  /// None for all.
  package var events: [Int]
  /// Whose events it hears of; `nil` for everybody's.
  package var owner: String?
  /// The present one, and the one before as long as it signs, too.
  package var secrets: [String]
  /// Too many messages wait for it: no more are written.
  package var isFull: Bool
  /// Messages when they were counted last, and the age of the oldest one that waits.
  package var waiting: Int
  package var dead: Int
  package var ageSeconds: Int

  static let columns = """
    id, url, types, events, owner, secret, is_full, waiting, dead,
    coalesce(greatest(0, extract(epoch FROM now() - oldest_at)), 0)::bigint AS age, CASE WHEN former_until > now() THEN former_secret END AS former_secret
    """

  init(_ row: PostgresRow) throws {
    id = try row.int("id")
    url = try row.string("url")
    types = Set((row["types"].strings ?? []).compactMap(WebhookType.init(rawValue:)))
    events = row["events"].ints ?? []
    owner = row["owner"].string
    secrets = [try row.string("secret")] + (row["former_secret"].string.map { [$0] } ?? [])
    isFull = try row.bool("is_full")
    waiting = try row.int("waiting")
    dead = try row.int("dead")
    ageSeconds = try row.int("age")
  }

  package func hears(_ type: WebhookType) -> Bool { types.isEmpty || types.contains(type) }
}

/// Something that one endpoint is to be told.
package struct WebhookMessage: Sendable {
  package let endpoint: Int
  package let event: Int
  package let generation: Int
  package let position: Int
  package let stage: Int
  package let ordinal: Int
  /// The same for the same thing, however often it is sent: a UUID.
  package let id: String
  package let type: String
  /// When it happened, as RFC 3339 has it.
  package let time: String
  /// A JSON object.
  package let data: String
  /// With line and ordinal what the request's id says besides its place.
  package let userKey: String
  package let wish: WishPlace?
  /// How often it was sent, this time included.
  package let attempts: Int
  /// Since it was written down, or replayed.
  package let ageSeconds: Int
  package let problem: String?

  init(_ row: PostgresRow) throws {
    endpoint = try row.int("endpoint_id")
    event = try row.int("event_id")
    generation = try row.int("generation")
    position = try row.int("position")
    stage = try row.int("stage")
    ordinal = try row.int("ordinal")
    id = try row.string("id")
    type = try row.string("type")
    time = try row.string("time")
    data = try row.string("data")
    userKey = try row.string("user_key")
    let line = try row.int("line"), place = try row.int("line_ordinal")
    wish = line > 0 && place > 0 ? WishPlace(line: line, ordinal: place) : nil
    attempts = try row.int("attempts")
    ageSeconds = try row.int("age")
    problem = row["problem"].string
  }

  /// Qualified by `m`, where the statement has other tables.
  static let columns = """
    m.endpoint_id, m.event_id, m.generation, m.position, m.stage, m.ordinal, m.id::text AS id, m.type,
    to_char(m.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS time, m.data::text AS data, m.user_key, m.line,
    m.line_ordinal, m.attempts, extract(epoch FROM now() - m.created_at)::bigint AS age, m.problem
    """
}
