import EventLoop
import Metrics

/// What a server counts, by route pattern: never by path, which a client can make up.
@LoopActor
final class RouteMetrics {
  private struct Key: Hashable {
    let route: ObjectIdentifier?
    let method: HTTPMethod?
    let status: Int
  }

  let connections = MetricsRegistry.shared.gauge("onsale_http_connections", "Connections open.")
  let later = MetricsRegistry.shared.gauge(
    "onsale_http_answers_pending", "Requests answered by a task, under way.")
  let evictions = MetricsRegistry.shared.counter(
    "onsale_http_evictions_total", "Idle connections closed to make room.")
  private var members: [Key: Member] = [:]

  /// What is counted of the answers of one route with one status.
  final class Member {
    let method: HTTPMethod?
    let status: Int
    let requests: Counter
    let duration: Histogram

    init(_ method: HTTPMethod?, _ status: Int, _ requests: Counter, _ duration: Histogram) {
      (self.method, self.status, self.requests, self.duration) = (method, status, requests, duration)
    }
  }

  /// - Parameters:
  ///   - route: `nil` for a request that matched none.
  ///   - method: `nil` for one that is not known.
  func record(_ route: Route?, _ method: HTTPMethod?, status: Int, nanoseconds: UInt64) {
    let member: Member
    if let last = route?.lastCounted, last.status == status, last.method == method {
      member = last
    } else {
      let key = Key(route: route.map { ObjectIdentifier($0) }, method: method, status: status)
      member = members[key] ?? add(key, route)
      route?.lastCounted = member
    }
    member.requests.increment()
    member.duration.record(Double(nanoseconds) / 1e9)
  }

  private func add(_ key: Key, _ route: Route?) -> Member {
    let pattern = route?.pattern ?? "unmatched"
    let method = key.method?.rawValue ?? "other"
    let member = Member(
      key.method, key.status,
      MetricsRegistry.shared.counter(
        "onsale_http_requests_total", "Requests answered.",
        labels: [("method", method), ("route", pattern), ("status", String(key.status))]),
      MetricsRegistry.shared.histogram(
        "onsale_http_request_seconds", "From the whole request to its answer.",
        labels: [("method", method), ("route", pattern)])
    )
    members[key] = member
    return member
  }
}
