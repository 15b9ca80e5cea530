/// A first-in first-out queue in a ring: both ends cost the same however long it is, and a steady state
/// allocates nothing.
package struct Fifo<Element> {
  @usableFromInline var ring: [Element?] = []
  @usableFromInline var head = 0
  @usableFromInline package var count = 0

  package init() {}

  @inlinable package var isEmpty: Bool { count == 0 }
  @inlinable package var first: Element? { count == 0 ? nil : ring[head] }

  // Always: else both are called as what they are for any type of element, which looks its layout up each time.
  @inlinable @inline(__always) package mutating func append(_ element: Element) {
    if count == ring.count { grow() }
    ring[(head + count) & (ring.count - 1)] = element
    count += 1
  }

  @inlinable @inline(__always) package mutating func popFirst() -> Element? {
    guard count > 0 else { return nil }
    let element = ring[head].take()
    head = (head + 1) & (ring.count - 1)
    count -= 1
    return element
  }

  /// The capacity is a power of two, so that wrapping around is a mask.
  @usableFromInline mutating func grow() {
    var larger = [Element?](repeating: nil, count: max(16, ring.count * 2))
    for index in 0..<count { larger[index] = ring[(head + index) & (ring.count - 1)] }
    ring = larger
    head = 0
  }
}
