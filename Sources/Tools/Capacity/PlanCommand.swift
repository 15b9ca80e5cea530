import Foundation
import JSON

/// `onsale plan`: what a sale needs. Asks nothing but its arguments.
package enum PlanCommand {
  package static let usage = """
    usage: onsale plan --buyers N --seats N --minutes N [options]

      --buyers N            how many come
      --seats N             how many tickets there are
      --minutes N           in how long they are to be sold
      --arrival-seconds N   within how long all buyers come (60)
      --tickets N           that a buyer asks for, on average (1.5)
      --think-seconds N     between seats and payment (60)
      --provider-rate N     requests that the payment provider takes in a second; 0 is no limit (100)
      --postgres-cores N    of the database's machine (8)
      --measured FILE       costs of your own machine, as JSON: {"poll": {"server": 25}, "redis_bytes_waiting": 57}
      --json                for machines

    Exit code: 0 when it goes, 1 when something is taken beyond its end, 64 when it cannot be understood.

    """

  package static func run(arguments: [String]) -> Int32 {
    do {
      if arguments.contains("--help") {
        print(usage, terminator: "")
        return 0
      }
      let (plan, asJSON) = try read(arguments)
      print(asJSON ? String(decoding: plan.json.serialized(), as: UTF8.self) : table(plan))
      return plan.bounds.contains { $0.load > 1 } ? 1 : 0
    } catch {
      FileHandle.standardError.write(Data("onsale plan: \(error)\n\n\(usage)".utf8))
      return 64
    }
  }

  static func read(_ arguments: [String]) throws(CapacityError) -> (plan: CapacityPlan, asJSON: Bool) {
    var numbers = [
      "--arrival-seconds": 60.0, "--tickets": 1.5, "--think-seconds": 60, "--provider-rate": 100,
      "--postgres-cores": 8,
    ]
    let needed = ["--buyers", "--seats", "--minutes"]
    var costs = CapacityCosts(), asJSON = false
    var rest = arguments[...]
    while let name = rest.popFirst() {
      if name == "--json" {
        asJSON = true
        continue
      }
      guard name == "--measured" || needed.contains(name) || numbers[name] != nil else {
        throw CapacityError("there is no option \"\(name)\"")
      }
      guard let value = rest.popFirst() else { throw CapacityError("\(name) needs a value") }
      if name == "--measured" {
        guard let text = FileManager.default.contents(atPath: value) else {
          throw CapacityError("\"\(value)\" cannot be read")
        }
        guard let json = try? JSON(parsing: [UInt8](text)) else {
          throw CapacityError("\"\(value)\" is no JSON")
        }
        costs = try CapacityCosts(measured: json)
        continue
      }
      let least = name == "--provider-rate" || name == "--think-seconds" ? 0 : name == "--tickets" ? 1 : 0.01
      guard let number = Double(value), number.isFinite, number >= least, number <= 1e9 else {
        throw CapacityError("\(name) must be a number of \(least) or more, not \"\(value)\"")
      }
      numbers[name] = number
    }
    let missing = needed.filter { numbers[$0] == nil }
    guard missing.isEmpty, let buyers = numbers["--buyers"], let seats = numbers["--seats"],
      let minutes = numbers["--minutes"], let arrival = numbers["--arrival-seconds"],
      let tickets = numbers["--tickets"], let think = numbers["--think-seconds"]
    else { throw CapacityError("\(missing.joined(separator: ", ")) must be said") }
    guard buyers >= 1, seats >= 1 else { throw CapacityError("there is somebody, and something to sell") }
    let served = min(buyers, seats / tickets)
    let demand = SaleForecast.Demand(
      buyers: Int(buyers), seats: Int(seats), arrivalSeconds: arrival,
      grantsPerSecond: max(served / (minutes * 60), 0.1), tickets: tickets, thinkSeconds: think)
    let plan = CapacityPlan(
      demand, costs: costs, providerRate: numbers["--provider-rate"] ?? 0,
      postgresCores: numbers["--postgres-cores"] ?? 8)
    return (plan, asJSON)
  }

  static func table(_ plan: CapacityPlan) -> String {
    func count(_ value: Double) -> String {
      let digits = value < 10 && value != value.rounded() ? 1 : 0
      return value.formatted(.number.precision(.fractionLength(digits)).locale(Locale(identifier: "en")))
    }
    func bytes(_ value: Double) -> String {
      let units = ["B", "KB", "MB", "GB", "TB"]
      var value = value, unit = 0
      while value >= 1_000, unit < units.count - 1 { (value, unit) = (value / 1_000, unit + 1) }
      return "\(count(value)) \(units[unit])"
    }
    let forecast = plan.forecast
    let rows = [
      ("", ""),
      ("in the busiest second", ""),
      ("joins", count(forecast.most(\.joins))),
      ("polls", count(forecast.most(\.polls))),
      ("grants", count(plan.demand.grantsPerSecond)),
      ("purchases", count(forecast.most(\.purchases))),
      ("requests to the provider", count(plan.providerRequests)),
      ("in line", count(forecast.most(\.waiting))),
      ("answers", "\(bytes(plan.egressBits / 8))/s"),
      ("", ""),
      ("in all", ""),
      ("polls", count(forecast.polls)),
      ("last seat granted after", "\(count(forecast.lastGrant)) s"),
      ("", ""),
      ("what that takes", ""),
      ("servers, a processor each", "\(plan.servers)"),
      ("workers, a processor each", "\(plan.workers)"),
      ("Redis, of its one thread", "\(count(plan.redisProcessors * 100)) %"),
      ("Redis, memory of the line", bytes(plan.redisBytes)),
      ("PostgreSQL, processors", count(plan.postgresProcessors)),
      ("PostgreSQL, log", "\(bytes(plan.logBytes))/s"),
      ("PostgreSQL, connections", "\(plan.databaseConnections)"),
      ("connections, kept a second each", count(plan.connections)),
      ("servers, memory for them", bytes(plan.serverBytes)),
    ]
    var lines = rows.map { name, value in
      value.isEmpty ? name : "  " + name.padding(toLength: 34, withPad: " ", startingAt: 0) + value
    }
    lines += ["", "what breaks first, in parts of what there is"]
    for bound in plan.bounds {
      let load = "\(count(bound.load * 100)) %"
      lines.append(
        "  " + bound.name.padding(toLength: 44, withPad: " ", startingAt: 0)
          + load.padding(toLength: 10, withPad: " ", startingAt: 0)
          + (bound.load > CapacityPlan.fill ? bound.remedy : ""))
    }
    return lines.joined(separator: "\n")
  }
}
