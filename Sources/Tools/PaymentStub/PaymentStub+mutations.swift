import EventLoop
import Foundation
import HTTPServer
import JSON
import Logging

extension PaymentStub {
  /// Decides what a request changes, from the book as it is; changes nothing itself.
  typealias Operation =
    @LoopActor (Form, FaultPlan) throws(StripeFailure) -> (LedgerRecord.Change, status: Int)

  func addMutations(to router: inout Router) {
    router.on(.post, "/v1/payment_intents") { [unowned self] request in
      mutate(request) { [unowned self] form, plan throws(StripeFailure) in try create(form, plan) }
    }
    router.on(.post, "/v1/payment_intents/{id}/confirm") { [unowned self] request in
      let id = request.parameters["id"] ?? ""
      return mutate(request) { [unowned self] form, plan throws(StripeFailure) in try confirm(id, form, plan)
      }
    }
    router.on(.post, "/v1/payment_intents/{id}/capture") { [unowned self] request in
      let id = request.parameters["id"] ?? ""
      return mutate(request) { [unowned self] form, _ throws(StripeFailure) in try capture(id, form) }
    }
    router.on(.post, "/v1/payment_intents/{id}/cancel") { [unowned self] request in
      let id = request.parameters["id"] ?? ""
      return mutate(request) { [unowned self] form, _ throws(StripeFailure) in try cancel(id, form) }
    }
    router.on(.post, "/v1/refunds") { [unowned self] request in
      mutate(request) { [unowned self] form, _ throws(StripeFailure) in try refund(form) }
    }
  }

  /// Runs an operation under the request's idempotency key, if it has one.
  private func mutate(_ request: HTTPRequest, _ operation: @escaping Operation) -> HTTPAnswer {
    if let refusal = refusal(of: request) { return .now(refusal) }
    if let refusal = faults.refusal(second: Self.now()) { return .now(refusal.response) }
    do throws(StripeFailure) {
      let form = try Form(request.body)
      var key: LedgerRecord.Key?
      if let name = request.header("Idempotency-Key") {
        guard (1...255).contains(name.count) else {
          throw .invalid("Idempotency keys have at most 255 characters.")
        }
        let fingerprint = form.fingerprint(request.path)
        if let other = keysInUse[name] { throw other == fingerprint ? .keyInUse : .differentParameters }
        if let known = book.keys[name] {
          guard known.fingerprint == fingerprint else { throw .differentParameters }
          return .later { [self] in await replay(known.answer) }
        }
        keysInUse[name] = fingerprint
        key = LedgerRecord.Key(name: name, fingerprint: fingerprint)
      }
      let plan = faults.next()
      return .later { [self] in
        defer { if let key { keysInUse[key.name] = nil } }
        return await run(operation, form, key, plan)
      }
    } catch {
      return .now(error.response)
    }
  }

  /// Answers what the key's first request was answered. Failures of the network happen here too.
  private func replay(_ answer: PaymentBook.Answer) async -> HTTPResponse {
    let plan = faults.next()
    replays += 1
    await pause(plan.latency)
    if plan.timesOutBefore || plan.timesOutAfter { return await hang(plan) }
    return replayed(answer)
  }

  private func replayed(_ answer: PaymentBook.Answer) -> HTTPResponse {
    var response = response(answer)
    response.headers.append(("Idempotent-Replayed", "true"))
    return response
  }

  private func run(
    _ operation: Operation, _ form: Form, _ key: LedgerRecord.Key?, _ plan: FaultPlan
  ) async -> HTTPResponse {
    await pause(plan.latency / 2)
    if plan.timesOutBefore {
      // Never happened: the key is free while this client still waits.
      if let key { keysInUse[key.name] = nil }
      return await hang(plan)
    }
    var response = await perform(operation, form, key, plan)
    if plan.isDuplicated {
      if let key, let known = book.keys[key.name] {
        replays += 1
        response = replayed(known.answer)
      } else if key == nil {
        response = await perform(operation, form, nil, FaultPlan())
      }
    }
    if plan.timesOutAfter {
      if let key { keysInUse[key.name] = nil }
      return await hang(plan)
    }
    await pause(plan.latency - plan.latency / 2)
    return response
  }

  /// Decides, records and answers. A refusal for the request itself is not kept under its key.
  private func perform(
    _ operation: Operation, _ form: Form, _ key: LedgerRecord.Key?, _ plan: FaultPlan
  ) async -> HTTPResponse {
    do {
      var change = LedgerRecord.Change.none
      var status = 500
      if !plan.failsBefore {
        (change, status) = try operation(form, plan)
        if plan.failsAfter { status = 500 }
      } else if key == nil {
        return StripeFailure.internalError.response
      }
      let answer = try await commit(LedgerRecord(change: change, status: status, key: key))
      if case .refunded(let refund) = change, let index = book.refundIndex(of: refund.id) {
        tell("refund.created", refundJSON(index))
      }
      // Ends by itself, and is waited for by nobody.
      if let id = change.processed { Task { @LoopActor in await process(id) } }
      return response(answer)
    } catch let failure as StripeFailure {
      return failure.response
    } catch {
      logger.retrying("the ledger failed", level: .error, ["error": String(describing: error)])
      return StripeFailure.internalError.response
    }
  }

  private func pause(_ milliseconds: Int) async {
    guard milliseconds > 0 else { return }
    // Cut short when the server stops; the answer then goes nowhere.
    try? await sleep(milliseconds: UInt64(milliseconds))
  }

  /// Leaves the client without an answer, then without a connection.
  private func hang(_ plan: FaultPlan) async -> HTTPResponse {
    var left = plan.hang
    while left > 0, !isStopping {
      let step = min(left, 500)
      await pause(step)
      left -= step
      if Task.isCancelled { break }
    }
    return .hangUp
  }
}
