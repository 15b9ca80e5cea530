/// Tells whether two bodies are the same one, such as under one `Idempotency-Key`.
package enum ContentDigest {
  private static let bytes = 32

  /// As text, of whatever comes in parts; parts are told apart by their lengths.
  package static func text(of parts: [[UInt8]]) -> String {
    var all: [UInt8] = []
    for part in parts { all += Array("\(part.count):".utf8) + part }
    return Sodium.base64(Sodium.hash(all, length: bytes))
  }
}
