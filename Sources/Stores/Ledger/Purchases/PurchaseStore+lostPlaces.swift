import EventLoop
import Postgres
package import Sale

extension PurchaseStore {
  /// Has no purchase of this place begin any more by that user. What was begun before stays. Repeated, it changes nothing.
  /// - Parameter owner: their `UserKey`.
  package func forfeit(_ key: PurchaseKey, owner: String) async throws {
    // Told once, it is asked for again and again, which should keep nobody from buying.
    let noted = try await postgres.query(
      """
      SELECT 1 AS noted FROM lost_place WHERE event_id = \(key.event) AND generation = \(key.generation)
        AND position = \(key.position) AND user_key = \(owner)
      """)
    if !noted.isEmpty { return }
    _ = try await postgres.transaction([
      // Whoever claims locks it, too: who did is seen afterwards, and who comes sees what is noted here.
      "SELECT FROM queue_life WHERE event_id = \(key.event) FOR NO KEY UPDATE",
      """
      INSERT INTO lost_place (event_id, generation, position, user_key)
      VALUES (\(key.event), \(key.generation), \(key.position), \(owner)) ON CONFLICT DO NOTHING
      """,
    ])
  }
}
