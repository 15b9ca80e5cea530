/// Reads `--name value`, `--name=value` and `--name` from a command line, and says all that is wrong together.
package struct ArgumentReader {
  private var values: [String: String] = [:]
  private var flags: Set<String> = []
  package private(set) var problems: [String] = []

  /// - Parameters:
  ///   - names: options that take a value.
  ///   - switches: options that take none.
  package init(_ arguments: [String], names: Set<String>, switches: Set<String>) {
    var index = 0
    while index < arguments.count {
      let argument = arguments[index]
      index += 1
      guard argument.hasPrefix("--") else {
        problems.append("unexpected argument \(argument)")
        continue
      }
      let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts[0])
      if switches.contains(name), parts.count == 1 {
        flags.insert(name)
      } else if names.contains(name) {
        if parts.count == 2 {
          values[name] = String(parts[1])
        } else if index < arguments.count {
          values[name] = arguments[index]
          index += 1
        } else {
          problems.append("--\(name) needs a value")
        }
      } else {
        problems.append("unknown option --\(name)")
      }
    }
  }

  package func has(_ name: String) -> Bool { flags.contains(name) }
  package func text(_ name: String) -> String? { values[name] }

  package mutating func integer(_ name: String, in range: ClosedRange<Int>) -> Int? {
    guard let text = values[name] else { return nil }
    guard let value = Int(text), range.contains(value) else {
      problems.append(
        "--\(name) must be a whole number from \(range.lowerBound) to \(range.upperBound), not \(text)")
      return nil
    }
    return value
  }

  /// A share such as `5%` or `0.05`, from 0 to 1.
  package mutating func share(_ name: String) -> Double? {
    guard let text = values[name] else { return nil }
    let value = text.hasSuffix("%") ? Double(text.dropLast()).map { $0 / 100 } : Double(text)
    guard let value, (0...1).contains(value) else {
      problems.append("--\(name) must be a share such as 5% or 0.05, not \(text)")
      return nil
    }
    return value
  }

  /// A range such as `1..4`, or a single number.
  package mutating func range(_ name: String, in bounds: ClosedRange<Int>) -> ClosedRange<Int>? {
    guard let text = values[name] else { return nil }
    let parts = text.replacing("...", with: "..").replacing("..", with: "-").split(separator: "-").map {
      Int($0)
    }
    if let low = parts.first ?? nil, let high = parts.last ?? nil, parts.count <= 2, low <= high,
      bounds.contains(low), bounds.contains(high)
    {
      return low...high
    }
    problems.append(
      "--\(name) must be a range such as 1..4 within \(bounds.lowerBound)..\(bounds.upperBound), not \(text)")
    return nil
  }
}
