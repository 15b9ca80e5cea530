/// Bitmaps as Redis keeps them: bit i, most significant first.
package enum Bitmap {
  package static func contains(_ bitmap: [UInt8], _ bit: Int) -> Bool {
    let byte = bit >> 3
    return byte < bitmap.count && bitmap[byte] & (0x80 >> UInt8(bit & 7)) != 0
  }

  /// How many bits are set in the ranges.
  package static func count(_ bitmap: [UInt8], in ranges: [ClosedRange<Int>]) -> Int {
    var count = 0
    for range in ranges {
      var bit = range.lowerBound
      while bit <= range.upperBound {
        if bit & 7 == 0, bit + 7 <= range.upperBound {
          let byte = bit >> 3
          if byte >= bitmap.count { break }
          count += bitmap[byte].nonzeroBitCount
          bit += 8
        } else {
          if contains(bitmap, bit) { count += 1 }
          bit += 1
        }
      }
    }
    return count
  }
}
