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
  private var members: [Key: (requests: Counter, duration: Histogram)] = [:]

  /// - Parameters:
  ///   - route: `nil` for a request that matched none.
  ///   - method: `nil` for one that is not known.
  func record(_ route: Route?, _ method: HTTPMethod?, status: Int, nanoseconds: UInt64) {
    let key = Key(route: route.map { ObjectIdentifier($0) }, method: method, status: status)
    let member = members[key] ?? add(key, route)
    member.requests.increment()
    member.duration.record(Double(nanoseconds) / 1e9)
  }

  private func add(_ key: Key, _ route: Route?) -> (requests: Counter, duration: Histogram) {
    let pattern = route?.pattern ?? "unmatched"
    let method = key.method?.rawValue ?? "other"
    let member = (
      requests: MetricsRegistry.shared.counter(
        "onsale_http_requests_total", "Requests answered.",
        labels: [("method", method), ("route", pattern), ("status", String(key.status))]),
      duration: MetricsRegistry.shared.histogram(
        "onsale_http_request_seconds", "From the whole request to its answer.",
        labels: [("method", method), ("route", pattern)])
    )
    members[key] = member
    return member
  }
}
