import JSON

/// One mistake in what somebody brought, with its place.
package struct Finding: Sendable, Equatable {
  package enum Place: Sendable, Equatable {
    /// In a JSON body: a JSON Pointer (RFC 6901) as a URI fragment.
    case body(pointer: String)
    /// In a table: a line from 1, and the name of a column.
    case table(line: Int, column: String?)
    /// In the query: an item's name.
    case query(String)
    case unknown
  }

  package let place: Place
  /// A sentence for a person, which names the place in words.
  package var detail: String

  package init(_ place: Place, _ detail: String) {
    self.place = place
    self.detail = detail
  }

  /// As a member of `errors` in a problem document.
  var json: JSON {
    let text = (name: "detail", value: JSON.string(detail))
    return switch place {
    case .body(let pointer): .object([("pointer", .string(pointer)), text])
    case .table(let line, let column?):
      .object([("line", .integer(line)), ("column", .string(column)), text])
    case .table(let line, nil): .object([("line", .integer(line)), text])
    case .query(let name): .object([("parameter", .string(name)), text])
    case .unknown: .object([text])
    }
  }
}

/// Everything that is wrong with what somebody brought, so that they mend it in one go.
///
/// Whatever reads goes on behind a mistake, with what is left; `finish` throws all of them, and nothing may be done with
/// what was read before it.
package struct Findings: Sendable {
  /// So many are told; more are counted.
  package static let told = 100

  private var list: [Finding] = []
  package private(set) var count = 0

  package init() {}

  package var isEmpty: Bool { count == 0 }

  package mutating func note(_ finding: @autoclosure () -> Finding) {
    count += 1
    if list.count < Self.told { list.append(finding()) }
  }

  /// - Parameter place: what holds its places, such as "Line 3"; `nil` where they say enough.
  package mutating func note(_ problem: Problem, in place: String? = nil) {
    func within(_ detail: String) -> String { place.map { "\($0): \(detail)" } ?? detail }
    if problem.errors.isEmpty { return note(Finding(.unknown, within(problem.detail))) }
    for finding in problem.errors { note(Finding(finding.place, within(finding.detail))) }
    count += problem.untold
  }

  /// What was read; `nil` after a mistake, which is noted.
  @discardableResult
  package mutating func take<Value>(_ read: @autoclosure () throws(Problem) -> Value) -> Value? {
    do throws(Problem) {
      return try read()
    } catch {
      note(error)
      return nil
    }
  }

  /// What was read; `nil` where there is nothing, and after a mistake, which is noted.
  package mutating func take<Value>(_ read: @autoclosure () throws(Problem) -> Value?) -> Value? {
    do throws(Problem) {
      return try read()
    } catch {
      note(error)
      return nil
    }
  }

  /// - Throws: 400 with all that was noted, if anything was.
  package func finish(_ code: String = "invalid_field") throws(Problem) {
    guard let first = list.first else { return }
    var detail = first.detail
    if count > 1 {
      detail = list.map(\.detail).joined(separator: "\n")
      if count > list.count { detail += "\nAnd \(count - list.count) more." }
      detail += "\nNothing was taken."
    }
    throw Problem(400, code, detail, errors: list, untold: count - list.count)
  }
}
