import EventLoop
import HTTPServer
import JSON
import Logging

/// What its owner does at the provider's dashboard, and what banks do: refunds and disputes that nobody here has asked for.
extension PaymentStub {
  func addDashboard(
    to router: inout Router, _ refuse: @escaping @LoopActor (HTTPRequest) -> HTTPResponse?
  ) {
    router.on(.post, "/stub/dashboard/refunds", refuse: refuse) { [unowned self] request in
      act(request) { [unowned self] form throws(StripeFailure) in
        guard case (.refunded(let refund), _) = try self.refund(form) else { return (.none, "", "") }
        return (.refunded(refund), "refund.created", refund.id)
      }
    }
    router.on(.post, "/stub/dashboard/refunds/{id}/fail", refuse: refuse) { [unowned self] request in
      let id = request.parameters["id"] ?? ""
      return act(request) { [unowned self] _ throws(StripeFailure) in
        guard let index = book.refundIndex(of: id) else { throw .missing("refund", id, param: "id") }
        var refund = book.refunds[index]
        refund.status = "failed"
        return (.refunded(refund), "refund.failed", id)
      }
    }
    router.on(.post, "/stub/dashboard/disputes", refuse: refuse) { [unowned self] request in
      act(request) { [unowned self] form throws(StripeFailure) in
        let intent = try intent(form["payment_intent"] ?? "")
        guard intent.state.received > 0 else {
          throw .invalid("This PaymentIntent does not have a successful charge.", param: "payment_intent")
        }
        let dispute = Dispute(
          id: Self.id("du_"), intent: intent.id, created: Self.now(),
          amount: try form.integer("amount") ?? intent.state.received, reason: form["reason"] ?? "fraudulent")
        return (.disputed(dispute), "charge.dispute.created", dispute.id)
      }
    }
    router.on(.post, "/stub/dashboard/disputes/{id}/{status}", refuse: refuse) { [unowned self] request in
      let (id, status) = (request.parameters["id"] ?? "", request.parameters["status"] ?? "")
      return act(request) { [unowned self] _ throws(StripeFailure) in
        guard let index = book.disputeIndex(of: id) else { throw .missing("dispute", id, param: "id") }
        guard ["needs_response", "under_review", "won", "lost"].contains(status) else {
          throw .invalid("Invalid status.", param: "status")
        }
        var dispute = book.disputes[index]
        dispute.status = status
        let isOver = status == "won" || status == "lost"
        return (.disputed(dispute), isOver ? "charge.dispute.closed" : "charge.dispute.updated", id)
      }
    }
  }

  /// Decides, records, answers, and tells the account's owner.
  private func act(
    _ request: HTTPRequest,
    _ decide:
      @escaping @LoopActor (Form) throws(StripeFailure) -> (
        change: LedgerRecord.Change, type: String, id: String
      )
  ) -> HTTPAnswer {
    .later { [self] in
      do {
        let (change, type, id) = try decide(try Form(request.body))
        _ = try await commit(LedgerRecord(change: change, status: 200, key: nil))
        let object =
          book.refundIndex(of: id).map { refundJSON($0) } ?? book.disputeIndex(of: id).map { disputeJSON($0) }
        tell(type, object ?? .null)
        return .json(200, object ?? .null)
      } catch let failure as StripeFailure {
        return failure.response
      } catch {
        logger.retrying("the ledger failed", level: .error, ["error": String(describing: error)])
        return StripeFailure.internalError.response
      }
    }
  }
}
