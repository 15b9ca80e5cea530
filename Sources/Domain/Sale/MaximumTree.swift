/// A row of numbers that finds the first one at least as large as asked, within a range, in logarithmic time.
struct MaximumTree: Sendable {
  /// A power of two; leaf i is node `width + i`, and a node's value is the larger of its two children's.
  private let width: Int
  private var nodes: [Int32]

  /// All numbers are 0 at first.
  init(count: Int) {
    var width = 1
    while width < count { width *= 2 }
    self.width = width
    nodes = Array(repeating: 0, count: 2 * width)
  }

  subscript(index: Int) -> Int {
    get { Int(nodes[width + index]) }
    set {
      var node = width + index
      var value = Int32(newValue)
      // Upwards until a parent already has its value.
      while nodes[node] != value {
        nodes[node] = value
        if node == 1 { return }
        node >>= 1
        value = max(nodes[2 * node], nodes[2 * node + 1])
      }
    }
  }

  /// The largest number of the range; 0 if it is empty.
  func maximum(in range: Range<Int>) -> Int {
    var low = width + range.lowerBound
    var high = width + range.upperBound
    var largest: Int32 = 0
    while low < high {
      if low & 1 == 1 {
        largest = max(largest, nodes[low])
        low += 1
      }
      if high & 1 == 1 {
        high -= 1
        largest = max(largest, nodes[high])
      }
      low >>= 1
      high >>= 1
    }
    return Int(largest)
  }

  /// Where the first number of the range is that is at least `threshold`, which is above 0.
  func first(in range: Range<Int>, atLeast threshold: Int) -> Int? {
    guard !range.isEmpty, threshold <= Int(Int32.max) else { return nil }
    let threshold = Int32(threshold)
    var node = width + range.lowerBound
    while nodes[node] < threshold {
      // To the subtree right of this one: up from right children, then to the sibling.
      while node & 1 == 1 { node >>= 1 }
      if node == 0 { return nil }
      node += 1
    }
    while node < width {
      node *= 2
      if nodes[node] < threshold { node += 1 }
    }
    return node - width < range.upperBound ? node - width : nil
  }
}
