/// The page's modules in one file, so that the first view needs one request for them.
///
/// Each module becomes a function that gives its exports, in the order in which they need each other. For modules written
/// as ours are: imports and exports begin a line, and exports are functions, classes and constants. A browser runs every
/// one of them in the tests.
enum Bundle {
  /// - Parameters:
  ///   - entry: the module that needs all others, directly or not.
  ///   - modules: texts by file name. Those that are not needed are left out.
  static func of(_ entry: String, _ modules: [String: String]) -> String {
    var writer = Writer(modules: modules)
    writer.add(entry)
    return writer.text
  }

  /// The same, and modules that are imported later, by `import("./x.js")`: each with what it alone needs, in a file of its
  /// own, which finds in the first, `bundle.js`, what that has.
  static func of(_ entry: String, later: [String], _ modules: [String: String]) -> [(
    name: String, text: String
  )] {
    var first = Writer(modules: modules)
    first.add(entry)
    let shared = first.order.map(variable).joined(separator: ", ")
    return [("bundle.js", first.text + "export { \(shared) };\n")]
      + later.map { name in
        var writer = Writer(modules: modules, known: first.order)
        writer.add(name)
        let exports = (writer.exports[name] ?? []).joined(separator: ", ")
        return (
          name,
          "import { \(shared) } from \"./bundle.js\";\n\(writer.text)export const { \(exports) } = \(variable(name));\n"
        )
      }
  }

  private struct Writer {
    let modules: [String: String]
    var text = ""
    /// Those that were added, in that order.
    private(set) var order: [String] = []
    private(set) var exports: [String: [String]] = [:]
    private var done: Set<String> = []
    private var underway: Set<String> = []

    init(modules: [String: String], known: [String] = []) {
      self.modules = modules
      done = Set(known)
    }

    mutating func add(_ name: String) {
      guard !done.contains(name) else { return }
      precondition(underway.insert(name).inserted, "\(name) needs itself")
      guard let source = modules[name] else { preconditionFailure("there is no module \(name)") }
      var body = "", exports: [String] = []
      var lines = source.split(separator: "\n", omittingEmptySubsequences: false)[...]
      while var line = lines.popFirst() {
        if line.hasPrefix("import ") {
          var statement = String(line)
          while !statement.hasSuffix(";"), let next = lines.popFirst() { statement += " " + next }
          body += imported(statement) + "\n"
          continue
        }
        if line.hasPrefix("export ") {
          line = line.dropFirst("export ".count)
          exports.append(Bundle.name(declaredBy: line))
        }
        body += line + "\n"
      }
      text +=
        "const \(Bundle.variable(name)) = (() => {\n\(body)return { \(exports.joined(separator: ", ")) };\n})();\n"
      done.insert(name)
      order.append(name)
      self.exports[name] = exports
    }

    /// `import { a, b as c } from "./x.js";` as a constant, with what it needs added before.
    private mutating func imported(_ statement: String) -> String {
      let parts = statement.split(separator: "\"")
      guard parts.count == 3, parts[1].hasPrefix("./"), let open = statement.firstIndex(of: "{"),
        let close = statement.firstIndex(of: "}")
      else { preconditionFailure("not understood: \(statement)") }
      let module = String(parts[1].dropFirst(2))
      add(module)
      let names = statement[open...close].replacing(" as ", with: ": ")
      return "const \(names) = \(Bundle.variable(module));"
    }
  }

  private static func variable(_ module: String) -> String { "$" + module.prefix { $0 != "." } }

  /// `async function reserve(…` declares `reserve`.
  private static func name(declaredBy line: Substring) -> String {
    var words = line.split { !$0.isLetter && !$0.isNumber && $0 != "_" && $0 != "$" }[...]
    if words.first == "async" { words.removeFirst() }
    guard let kind = words.popFirst(), ["function", "class", "const"].contains(kind), let name = words.first
    else {
      preconditionFailure("not understood: export \(line)")
    }
    return String(name)
  }
}
