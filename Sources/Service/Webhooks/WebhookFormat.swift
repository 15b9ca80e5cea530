package import Identity
import JSON
package import Ledger
import Sale
import StoreCommon

/// How a message looks on its way: Standard Webhooks 1.
package struct WebhookFormat: Sendable {
  private let ids: RequestIDCoder?

  package init(ids: RequestIDCoder?) { self.ids = ids }

  /// The same bytes each time, as long as the installation's secret is the same.
  package func body(_ message: WebhookMessage) throws -> [UInt8] {
    let data = try JSON(parsing: Array(message.data.utf8))
    var members: [(name: String, value: JSON)] = []
    if data["event_id"] == nil { members.append(("event_id", .integer(message.event))) }
    if let id = requestID(message, user: data["user_id"]?.string) {
      members.append(("request_id", .string(id)))
    }
    members += data.members ?? []
    let body: JSON = .object([
      ("type", .string(message.type)), ("timestamp", .string(message.time)), ("data", .object(members)),
    ])
    return body.serialized()
  }

  /// As its buyer has it.
  private func requestID(_ message: WebhookMessage, user: String?) -> String? {
    guard let ids, message.position > 0 else { return nil }
    let owner = message.userKey.isEmpty ? user.map { UserKey($0).text } ?? "" : message.userKey
    guard owner.utf8.count == RequestIDCoder.ownerLength else { return nil }
    return ids.encode(
      RequestID(
        event: message.event, generation: message.generation, position: message.position, owner: owner,
        line: message.wish?.line ?? 0, ordinal: message.wish?.ordinal ?? 0))
  }

  package func headers(
    _ message: WebhookMessage, _ body: [UInt8], secrets: [WebhookSecret], now: Int
  ) -> [(name: String, value: String)] {
    let id = "msg_\(message.id)"
    let signatures = secrets.map { $0.signature(id: id, timestamp: now, body: body) }
    return [
      ("Content-Type", "application/json"), ("User-Agent", "Onsale"), ("webhook-id", id),
      ("webhook-timestamp", String(now)), ("webhook-signature", signatures.joined(separator: " ")),
    ]
  }
}
