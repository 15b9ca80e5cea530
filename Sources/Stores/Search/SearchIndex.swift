package import EventLoop

/// Finds events by text, place, date and price. Every backend passes the same conformance suite.
@LoopActor
package protocol SearchIndex: AnyObject {
  /// Names the backend in logs and metrics.
  var name: String { get }

  /// Names what documents are written to: indexes of different places are written independently of each other. Known
  /// once the backend was made ready.
  var place: String { get }

  /// Makes the backend ready: its schema exists afterwards. Idempotent, safe from several processes.
  func prepare() async throws

  func search(_ query: SearchQuery) async throws -> SearchPage

  /// Writes documents; each whose version is not above the indexed one is left out silently, so the order in
  /// which writes arrive does not matter. Found by searches within a second.
  func apply(_ documents: [SearchDocument]) async throws

  /// Takes events out.
  func remove(_ ids: [Int]) async throws

  /// Ids and versions of what is indexed, by ascending id, from the first above `id`.
  func indexedVersions(after id: Int, limit: Int) async throws -> [(id: Int, version: Int)]

  /// Builds the index anew from `batch`, which is asked until it returns `nil`, while searches go on
  /// over the old one. What is not in any batch is not in the new index. On an error the old one stays.
  func rebuild(_ batch: @LoopActor () async throws -> [SearchDocument]?) async throws
}

/// A search that failed.
package struct SearchError: Error, Sendable, CustomStringConvertible {
  package struct Code: Hashable, Sendable {
    let name: String
    /// The backend cannot be reached or did not answer in time.
    package static let unavailable = Code(name: "unavailable")
    /// The backend answered something else than was agreed.
    package static let unexpectedAnswer = Code(name: "unexpected_answer")
    /// Too many searches are under way already.
    package static let overloaded = Code(name: "overloaded")
  }

  package let code: Code
  package let message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { "\(code.name): \(message)" }
}
