/// Tokens that were verified lately, by their hash.
///
/// Bounded by two generations: when the young one is full, or a minute old, it becomes the old one and the
/// former old one is dropped. Nothing is searched for victims.
struct RememberedTokens {
  static let seconds = 60

  /// Keyed anew in each process, so that nobody can prepare tokens that collide.
  struct Digest: Hashable {
    private static let key = Sodium.randomBytes(32)
    private let high: UInt64
    private let low: UInt64

    init(_ token: String) {
      let hash = Sodium.hash(Array(token.utf8), key: Self.key, length: 16)
      (high, low) = hash.withUnsafeBytes {
        ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      }
    }
  }

  private struct Entry {
    let claims: Claims
    /// Seconds since 1970; not used from then on.
    let until: Int
  }

  private let capacity: Int
  private var young: [Digest: Entry] = [:]
  private var old: [Digest: Entry] = [:]
  private var youngSince = 0

  init(capacity: Int) { self.capacity = max(2, capacity) }

  func claims(of digest: Digest, now: Int) -> Claims? {
    guard let entry = young[digest] ?? old[digest], now < entry.until else { return nil }
    return entry.claims
  }

  mutating func insert(_ claims: Claims, _ digest: Digest, now: Int) {
    if young.count >= capacity / 2 || now - youngSince >= Self.seconds {
      old = young
      young = [:]
      youngSince = now
    }
    young[digest] = Entry(claims: claims, until: min(claims.expiresAt, now + Self.seconds))
  }

  mutating func removeAll() {
    young = [:]
    old = [:]
  }
}
