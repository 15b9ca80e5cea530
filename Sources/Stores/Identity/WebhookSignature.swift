/// Signs messages, and checks signatures, as Stripe does: `t=<Unix seconds>,v1=<HMAC-SHA256 of "<t>.<body>", in hex>`.
package enum WebhookSignature {
  /// Older, and newer, than this a message is not believed: somebody may have kept it. In seconds.
  package static let toleranceSeconds = 300

  package static func header(_ body: [UInt8], secret: String, at time: Int) -> String {
    "t=\(time),v1=\(Sodium.hex(mac(body, secret, time)))"
  }

  /// Whether one of the header's signatures is of one of the secrets: two of them count while they are exchanged.
  package static func isValid(_ header: String, of body: [UInt8], secrets: [String], now: Int) -> Bool {
    var time: Int?
    var signatures: [[UInt8]] = []
    for part in header.split(separator: ",").prefix(20) {
      let pair = part.split(separator: "=", maxSplits: 1).map(String.init)
      guard pair.count == 2 else { continue }
      if pair[0] == "t" { time = Int(pair[1]) }
      if pair[0] == "v1" { signatures.append(Array(pair[1].utf8)) }
    }
    // Compared without a difference: a sender may write any number.
    guard let time, time >= now - toleranceSeconds, time <= now + toleranceSeconds else { return false }
    return secrets.contains { secret in
      let right = Array(Sodium.hex(mac(body, secret, time)).utf8)
      return signatures.contains { Sodium.areEqual($0, right) }
    }
  }

  private static func mac(_ body: [UInt8], _ secret: String, _ time: Int) -> [UInt8] {
    Sodium.HMACKey(Array(secret.utf8)).mac((Array("\(time).".utf8) + body)[...])
  }
}
