import CLibFuzzer
import FuzzTargets
import Glibc

// Usage: onsale-fuzz TARGET [CORPUS…] [-libFuzzer's options]

nonisolated(unsafe) var target = FuzzTarget.json

let names = FuzzTarget.allCases.map(\.rawValue)
guard CommandLine.arguments.count > 1, let chosen = FuzzTarget(rawValue: CommandLine.arguments[1]) else {
  print("usage: onsale-fuzz \(names.joined(separator: "|")) [corpus…] [options of libFuzzer]")
  exit(64)
}
target = chosen

// libFuzzer reads the arguments as if the target were not there, and keeps them.
var rest: [UnsafeMutablePointer<CChar>?] = ([CommandLine.arguments[0]] + CommandLine.arguments.dropFirst(2))
  .map {
    strdup($0)
  }
var count = Int32(rest.count)
rest.append(nil)
let status = rest.withUnsafeMutableBufferPointer { buffer in
  var arguments = buffer.baseAddress
  return LLVMFuzzerRunDriver(&count, &arguments) { data, size in
    target.run(UnsafeBufferPointer(start: data, count: size))
    return 0
  }
}
exit(status)
