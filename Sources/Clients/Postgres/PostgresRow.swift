import CLibPQ
import Glibc

/// The rows of one statement, freed with the last row that is still in use.
///
/// `@unchecked Sendable`: libpq never changes a result once it was returned, and only `deinit` frees it.
final class PostgresResult: @unchecked Sendable {
  let handle: OpaquePointer

  /// Takes over `handle`.
  init(_ handle: OpaquePointer) { self.handle = handle }

  deinit { PQclear(handle) }

  var rows: [PostgresRow] {
    let count = PQntuples(handle)
    return (0..<count).map { PostgresRow(result: self, index: $0) }
  }

  /// What was done, in a word, such as `COMMIT`.
  var tag: String { String(cString: PQcmdStatus(handle)) }

  /// Few columns a result, so looking through them beats a dictionary.
  func column(_ name: String) -> Int32? {
    for column in 0..<PQnfields(handle) where strcmp(PQfname(handle, column), name) == 0 { return column }
    return nil
  }
}

/// One row. Columns are found by name.
package struct PostgresRow: Sendable {
  let result: PostgresResult
  let index: Int32

  /// The value of `column`. Asking for a column that the statement does not return is a programmer's mistake.
  package subscript(column: String) -> PostgresValue {
    guard let number = result.column(column) else {
      preconditionFailure("the statement returns no \(column)")
    }
    if PQgetisnull(result.handle, index, number) == 1 { return PostgresValue(string: nil) }
    let bytes = UnsafeRawBufferPointer(
      start: PQgetvalue(result.handle, index, number), count: Int(PQgetlength(result.handle, index, number)))
    return PostgresValue(string: String(decoding: bytes, as: UTF8.self))
  }

  /// - Throws: `PostgresError` where the value is NULL or of another kind; also below.
  package func int(_ column: String) throws(PostgresError) -> Int { try need(self[column].int, column) }
  package func string(_ column: String) throws(PostgresError) -> String {
    try need(self[column].string, column)
  }
  package func bool(_ column: String) throws(PostgresError) -> Bool { try need(self[column].bool, column) }

  private func need<Value>(_ value: Value?, _ column: String) throws(PostgresError) -> Value {
    guard let value else { throw PostgresError(.server, "the value of \(column) is NULL or of another kind") }
    return value
  }
}

/// One value of a row. Each property is `nil` for NULL and for what cannot be read that way.
package struct PostgresValue: Sendable, Equatable {
  /// PostgreSQL's text of it.
  package let string: String?

  package var int: Int? { string.flatMap { Int($0) } }
  package var bool: Bool? {
    switch string {
    case "t": true
    case "f": false
    default: nil
    }
  }
  /// A one-dimensional array without NULLs.
  package var strings: [String]? {
    guard let elements = string.flatMap(SQLArray.elements(of:)) else { return nil }
    let texts = elements.compactMap(\.self)
    return texts.count == elements.count ? texts : nil
  }
  /// A one-dimensional array of integers without NULLs.
  package var ints: [Int]? {
    guard let elements = string.flatMap(SQLArray.elements(of:)) else { return nil }
    let numbers = elements.compactMap { $0.flatMap { Int($0) } }
    return numbers.count == elements.count ? numbers : nil
  }
}
