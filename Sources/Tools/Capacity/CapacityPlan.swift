package import JSON
import Sale

/// What a sale needs: processes, processors, memory, connections and bandwidth, and what would break first.
package struct CapacityPlan: Sendable {
  /// One thing that has an end, and how much of it the sale's busiest second takes.
  package struct Bound: Sendable, Equatable {
    package let name: String
    /// Of what there is; above 1 it does not go.
    package let load: Double
    /// What moves it.
    package let remedy: String
  }

  /// No more of a processor than this is planned with: the rest is for bursts, and for taking over from one that died.
  package static let fill = 0.7
  /// Connections to PostgreSQL of one process, as the settings have them unless changed.
  package static let connectionsServer = 12, connectionsWorker = 16

  package let demand: SaleForecast.Demand
  package let forecast: SaleForecast
  package let servers: Int
  package let workers: Int
  /// Processors that are busy in the busiest second.
  package let redisProcessors: Double
  package let postgresProcessors: Double
  package let redisBytes: Double
  package let connections: Double
  package let serverBytes: Double
  package let egressBits: Double
  package let logBytes: Double
  package let providerRequests: Double
  package let databaseConnections: Int
  /// The tightest first.
  package let bounds: [Bound]

  /// - Parameters:
  ///   - providerRate: requests that the provider takes in a second; 0 is no limit.
  ///   - postgresCores: of the database's machine.
  package init(
    _ demand: SaleForecast.Demand, costs: CapacityCosts = CapacityCosts(), providerRate: Double = 100,
    postgresCores: Double = 8
  ) {
    self.demand = demand
    forecast = SaleForecast(demand)
    var server = 0.0, worker = 0.0, redis = 0.0, postgres = 0.0, egress = 0.0
    for second in forecast.seconds {
      func load(_ part: KeyPath<CapacityCosts.Step, Double>) -> Double {
        let steps = [
          (second.joins, costs.join), (second.polls, costs.poll), (second.grants, costs.grant),
          (second.purchases, costs.purchase),
        ]
        return steps.reduce(0) { $0 + $1.0 * $1.1[keyPath: part] } / 1_000_000
      }
      server = max(server, load(\.server))
      worker = max(worker, load(\.worker))
      redis = max(redis, load(\.redis))
      postgres = max(postgres, load(\.postgres))
      egress = max(egress, second.joins * costs.joinBytes + second.polls * costs.pollBytes)
    }
    // Two at least: one may die.
    servers = max(2, Int((server / Self.fill).rounded(.up)))
    workers = max(2, Int((worker / Self.fill).rounded(.up)))
    redisProcessors = redis
    postgresProcessors = postgres
    let waiting = forecast.most(\.waiting)
    redisBytes = waiting * costs.redisBytesWaiting
    // A poll and a join hold a connection for a moment; who keeps it between two polls is a proxy's to say.
    connections = forecast.most(\.polls) + forecast.most(\.joins)
    serverBytes = connections * costs.serverBytesConnection
    egressBits = egress * 8
    let purchases = forecast.most(\.purchases)
    logBytes = purchases * costs.logBytesPurchase
    providerRequests = purchases * costs.providerRequestsPurchase
    databaseConnections = servers * Self.connectionsServer + workers * Self.connectionsWorker
    var bounds = [
      Bound(
        name: "Redis' one thread", load: redis,
        remedy: "meter arrivals at the proxy, or give events partitions on several masters"),
      Bound(
        name: "one worker, which alone decides an event",
        load: demand.grantsPerSecond * (costs.grant.worker + costs.join.worker) / 1_000_000,
        remedy: "a faster processor; the payments of the event are other workers' too"),
      Bound(name: "PostgreSQL's processors", load: postgres / postgresCores, remedy: "more of them"),
      Bound(
        name: "connections of PostgreSQL (of 200)", load: Double(databaseConnections) / 200,
        remedy: "`max_connections`, ONSALE_DATABASE_CONNECTIONS, or PgBouncer in session mode"),
    ]
    if providerRate > 0 {
      bounds.append(
        Bound(
          name: "the provider's rate", load: providerRequests / providerRate,
          remedy: "ask the provider for more, or sell over more minutes"))
    }
    self.bounds = bounds.sorted { $0.load > $1.load }
  }

  package var json: JSON {
    func rounded(_ value: Double) -> JSON { .number((value * 100).rounded() / 100) }
    return [
      "demand": [
        "buyers": .integer(demand.buyers), "seats": .integer(demand.seats),
        "arrival_seconds": rounded(demand.arrivalSeconds),
        "grants_per_second": rounded(demand.grantsPerSecond), "tickets": rounded(demand.tickets),
        "think_seconds": rounded(demand.thinkSeconds),
      ],
      "sale": [
        "last_grant_seconds": rounded(forecast.lastGrant),
        "last_answer_seconds": rounded(forecast.lastAnswer),
        "joins": rounded(forecast.joins), "polls": rounded(forecast.polls),
        "purchases": rounded(forecast.purchases), "joins_per_second": rounded(forecast.most(\.joins)),
        "polls_per_second": rounded(forecast.most(\.polls)),
        "purchases_per_second": rounded(forecast.most(\.purchases)),
        "waiting": rounded(forecast.most(\.waiting)),
      ],
      "needs": [
        "servers": .integer(servers), "workers": .integer(workers),
        "redis_processors": rounded(redisProcessors), "redis_bytes": rounded(redisBytes),
        "postgres_processors": rounded(postgresProcessors),
        "postgres_transactions_per_second": rounded(forecast.most(\.purchases)),
        "postgres_log_bytes_per_second": rounded(logBytes),
        "postgres_connections": .integer(databaseConnections),
        "connections": rounded(connections), "server_bytes": rounded(serverBytes),
        "egress_bits_per_second": rounded(egressBits),
        "provider_requests_per_second": rounded(providerRequests),
      ],
      "bounds": .array(
        bounds.map {
          ["name": .string($0.name), "load": rounded($0.load), "remedy": .string($0.remedy)]
        }),
    ]
  }
}
