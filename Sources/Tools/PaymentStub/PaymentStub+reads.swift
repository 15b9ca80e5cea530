import EventLoop
import HTTPServer
import JSON

extension PaymentStub {
  func addReads(to router: inout Router) {
    router.on(.get, "/v1/payment_intents") { [unowned self] request in
      read(request) { [unowned self] request throws(StripeFailure) in try list(request) }
    }
    router.on(.get, "/v1/payment_intents/search") { [unowned self] request in
      read(request) { [unowned self] request throws(StripeFailure) in try search(request) }
    }
    router.on(.get, "/v1/payment_intents/{id}") { [unowned self] request in
      read(request) { [unowned self] request throws(StripeFailure) in
        try intent(request.parameters["id"] ?? "").json(at: url)
      }
    }
    router.on(.get, "/v1/refunds") { [unowned self] request in
      read(request) { [unowned self] request throws(StripeFailure) in try listRefunds(request) }
    }
    router.on(.get, "/v1/refunds/{id}") { [unowned self] request in
      read(request) { [unowned self] request throws(StripeFailure) in
        let id = request.parameters["id"] ?? ""
        guard let index = book.refundIndex(of: id) else { throw .missing("refund", id, param: "id") }
        return refundJSON(index)
      }
    }
  }

  func addDisputes(to router: inout Router) {
    router.on(.get, "/v1/disputes") { [unowned self] request in
      read(request) { [unowned self] request throws(StripeFailure) in try listDisputes(request) }
    }
    router.on(.get, "/v1/disputes/{id}") { [unowned self] request in
      read(request) { [unowned self] request throws(StripeFailure) in
        let id = request.parameters["id"] ?? ""
        guard let index = book.disputeIndex(of: id) else { throw .missing("dispute", id, param: "id") }
        return disputeJSON(index)
      }
    }
  }

  private func listDisputes(_ request: HTTPRequest) throws(StripeFailure) -> JSON {
    let intent = request.query("payment_intent")
    let tellsOfPayments = try tellsOfPayments(request)
    let page = try page(
      request, count: book.disputes.count, index: { book.disputeIndex(of: $0) },
      matches: { intent == nil || book.disputes[$0].intent == intent })
    return [
      "object": "list", "url": "/v1/disputes", "has_more": .bool(page.hasMore),
      "data": .array(page.indices.map { disputeJSON($0, tellsOfPayment: tellsOfPayments) }),
    ]
  }

  private func read(
    _ request: HTTPRequest, _ body: @escaping @LoopActor (HTTPRequest) throws(StripeFailure) -> JSON
  ) -> HTTPAnswer {
    if let refusal = refusal(of: request) { return .now(refusal) }
    if let refusal = faults.refusal(second: Self.now()) { return .now(refusal.response) }
    return .later { [self] in
      do {
        try await settled()
        return .json(200, try body(request))
      } catch let failure as StripeFailure {
        return failure.response
      } catch {
        return StripeFailure.internalError.response
      }
    }
  }

  /// Whether a list is to have the payments in place of their ids: the one thing that is expanded here.
  private func tellsOfPayments(_ request: HTTPRequest) throws(StripeFailure) -> Bool {
    var tells = false
    for (name, value) in request.queryItems where name == "expand[]" || name == "expand[0]" {
      guard value == "data.payment_intent" else {
        throw .invalid("This property cannot be expanded (\(value)).", param: "expand")
      }
      tells = true
    }
    return tells
  }

  private func limit(_ request: HTTPRequest) throws(StripeFailure) -> Int {
    guard let text = request.query("limit") else { return 10 }
    guard let limit = Int(text), (1...100).contains(limit) else {
      throw .invalid("This value must be from 1 to 100.", code: "parameter_invalid_integer", param: "limit")
    }
    return limit
  }

  /// One page of `count` things, newest first, of which `index` finds one by id.
  ///
  /// With `ending_before` the page is the one right before that thing, as Stripe has it.
  private func page(
    _ request: HTTPRequest, count: Int, index: (String) -> Int?, matches: (Int) -> Bool
  ) throws(StripeFailure) -> (indices: [Int], hasMore: Bool) {
    let limit = try limit(request)
    func position(_ name: String) throws(StripeFailure) -> Int? {
      guard let id = request.query(name) else { return nil }
      guard let found = index(id) else { throw .missing("object", id, param: name, status: 400) }
      return found
    }
    var indices: [Int] = []
    if let before = try position("ending_before") {
      for candidate in (before + 1)..<max(count, before + 1) where matches(candidate) {
        indices.append(candidate)
        if indices.count > limit { break }
      }
      return (indices.prefix(limit).reversed(), indices.count > limit)
    }
    for candidate in stride(from: (try position("starting_after") ?? count) - 1, through: 0, by: -1)
    where matches(candidate) {
      indices.append(candidate)
      if indices.count > limit { break }
    }
    return (Array(indices.prefix(limit)), indices.count > limit)
  }

  private func list(_ request: HTTPRequest) throws(StripeFailure) -> JSON {
    var bounds = Int.min...Int.max
    for (name, value) in request.queryItems where name.hasPrefix("created") {
      guard let seconds = Int(value) else { throw .invalid("Invalid integer", param: name) }
      switch name {
      case "created": bounds = bounds.clamped(to: seconds...seconds)
      case "created[gte]": bounds = bounds.clamped(to: seconds...max(seconds, bounds.upperBound))
      case "created[gt]": bounds = bounds.clamped(to: (seconds + 1)...max(seconds + 1, bounds.upperBound))
      case "created[lte]": bounds = bounds.clamped(to: min(seconds, bounds.lowerBound)...seconds)
      case "created[lt]": bounds = bounds.clamped(to: min(seconds - 1, bounds.lowerBound)...(seconds - 1))
      default: throw .invalid("Unknown filter.", code: "parameter_unknown", param: name)
      }
    }
    let page = try page(
      request, count: book.intents.count, index: { book.index(of: $0) },
      matches: { bounds.contains(book.intents[$0].created) })
    return [
      "object": "list", "url": "/v1/payment_intents", "has_more": .bool(page.hasMore),
      "data": .array(page.indices.map { book.intents[$0].json(at: url) }),
    ]
  }

  private func listRefunds(_ request: HTTPRequest) throws(StripeFailure) -> JSON {
    let intent = request.query("payment_intent")
    let tellsOfPayments = try tellsOfPayments(request)
    let page = try page(
      request, count: book.refunds.count, index: { book.refundIndex(of: $0) },
      matches: { intent == nil || book.refunds[$0].intent == intent })
    return [
      "object": "list", "url": "/v1/refunds", "has_more": .bool(page.hasMore),
      "data": .array(page.indices.map { refundJSON($0, tellsOfPayment: tellsOfPayments) }),
    ]
  }

  /// Searches by `metadata['name']:'value'` and `status:'value'`, joined by AND; one of them must be metadata.
  private func search(_ request: HTTPRequest) throws(StripeFailure) -> JSON {
    guard let query = request.query("query").flatMap({ SearchQuery($0) }), let first = query.metadata.first
    else {
      throw .invalid(
        "Only metadata['name']:'value' and status:'value' joined by AND are known here.", param: "query")
    }
    let limit = try limit(request)
    let lag = faults.settings.searchLagMilliseconds
    let end = lag == 0 ? Int.max : Self.now() - (lag + 999) / 1_000
    var found = book.find(metadata: first.name, first.value).reversed().filter { index in
      let intent = book.intents[index]
      return query.metadata.allSatisfy { intent.metadata[$0.name] == $0.value }
        && intent.created < end
        && (query.status == nil || intent.state.status.rawValue == query.status)
    }
    var hasMore = false
    if let after = request.query("page").flatMap({ Int($0) }) { found = found.filter { $0 < after } }
    if found.count > limit {
      hasMore = true
      found = Array(found.prefix(limit))
    }
    return [
      "object": "search_result", "url": "/v1/payment_intents/search", "has_more": .bool(hasMore),
      "next_page": hasMore ? JSON(found.last.map { String($0) }) : nil,
      "data": .array(found.map { shown(book.intents[$0]) }),
    ]
  }

  /// A payment as the search shows it, which may be as it was.
  private func shown(_ intent: PaymentIntent) -> JSON {
    let stale = (faults.settings.searchStaleMilliseconds + 999) / 1_000
    if stale == 0 || intent.created < Self.now() - stale { return intent.json(at: url) }
    return intent.json(PaymentIntent.State(status: .requiresPaymentMethod), at: url)
  }
}
