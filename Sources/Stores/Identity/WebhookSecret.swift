import Foundation

/// A secret in the form of Standard Webhooks, `whsec_` and 24 to 64 bytes in base64, and what is signed with it.
package struct WebhookSecret: Sendable {
  private static let prefix = "whsec_"
  private static let allowedBytes = 24...64
  private static let bytes = 32

  private let key: Sodium.HMACKey

  /// `nil` for a text that is no such secret.
  package init?(_ text: String) {
    guard text.hasPrefix(Self.prefix),
      let data = Data(base64Encoded: String(text.dropFirst(Self.prefix.count))),
      Self.allowedBytes.contains(data.count)
    else { return nil }
    key = Sodium.HMACKey(Array(data))
  }

  /// A new one.
  package static func random() -> String { prefix + Data(Sodium.randomBytes(bytes)).base64EncodedString() }

  /// One signature of the header `webhook-signature`.
  package func signature(id: String, timestamp: Int, body: [UInt8]) -> String {
    "v1," + Data(key.mac((Array("\(id).\(timestamp).".utf8) + body)[...])).base64EncodedString()
  }
}
