import JSON

// The objects of Stripe's API, with the members that its clients rely on.

extension PaymentIntent {
  /// The charge's id follows from the intent's, so that it need not be kept.
  var chargeID: String { "ch_" + id.dropFirst(3) }

  /// - Parameter url: of the stub, for the page on which a buyer confirms.
  func json(_ state: State? = nil, at url: String = "") -> JSON {
    let state = state ?? self.state
    return [
      "id": .string(id), "object": "payment_intent", "amount": .integer(amount),
      "amount_capturable": .integer(state.status == .requiresCapture ? amount : 0),
      "amount_details": ["tip": [:]], "amount_received": .integer(state.received), "application": nil,
      "application_fee_amount": nil, "automatic_payment_methods": nil, "canceled_at": JSON(state.canceledAt),
      "cancellation_reason": JSON(state.cancellationReason),
      "capture_method": isManual ? "manual" : "automatic", "client_secret": .string(id + "_secret_stub"),
      "confirmation_method": "automatic", "created": .integer(created), "currency": .string(currency),
      "customer": nil, "description": JSON(description), "last_payment_error": lastError(state),
      "latest_charge": state.wasCharged ? .string(chargeID) : nil, "livemode": false,
      "metadata": .object(
        metadata.sorted { $0.key < $1.key }.map { (name: $0.key, value: JSON.string($0.value)) }),
      "next_action": nextAction(state, at: url),
      "on_behalf_of": nil, "payment_method": JSON(state.method),
      "payment_method_configuration_details": nil,
      "payment_method_options": ["card": ["request_three_d_secure": "automatic"]],
      "payment_method_types": ["card"], "processing": nil, "receipt_email": nil, "review": nil,
      "setup_future_usage": nil, "shipping": nil, "source": nil, "statement_descriptor": nil,
      "statement_descriptor_suffix": nil, "status": .string(state.status.rawValue), "transfer_data": nil,
      "transfer_group": nil,
    ]
  }

  private func nextAction(_ state: State, at url: String) -> JSON {
    guard state.status == .requiresAction else { return nil }
    guard let returnURL, !url.isEmpty else { return ["type": "use_stripe_sdk", "use_stripe_sdk": [:]] }
    return [
      "type": "redirect_to_url",
      "redirect_to_url": ["url": .string("\(url)/stub/bank/\(id)"), "return_url": .string(returnURL)],
    ]
  }

  private func lastError(_ state: State) -> JSON {
    guard let decline = state.decline else { return nil }
    return [
      "type": "card_error", "charge": .string(chargeID), "code": .string(StripeFailure.code(of: decline)),
      "decline_code": .string(decline), "message": .string(StripeFailure.message(of: decline)),
    ]
  }
}

extension Refund {
  func json(charge: String, currency: String, intent told: JSON? = nil) -> JSON {
    [
      "id": .string(id), "object": "refund", "amount": .integer(amount), "balance_transaction": nil,
      "charge": .string(charge), "created": .integer(created), "currency": .string(currency),
      "destination_details": nil,
      "metadata": .object(
        metadata.sorted { $0.key < $1.key }.map { (name: $0.key, value: JSON.string($0.value)) }),
      "payment_intent": told ?? .string(intent), "reason": JSON(reason), "receipt_number": nil,
      "source_transfer_reversal": nil, "status": .string(status), "transfer_reversal": nil,
    ]
  }
}

extension Dispute {
  func json(charge: String, currency: String, intent told: JSON? = nil) -> JSON {
    [
      "id": .string(id), "object": "dispute", "amount": .integer(amount), "balance_transactions": [],
      "charge": .string(charge), "created": .integer(created), "currency": .string(currency), "evidence": [:],
      "evidence_details": [
        "due_by": .integer(created + 604_800), "has_evidence": false, "past_due": false,
        "submission_count": 0,
      ],
      "is_charge_refundable": .bool(status != "lost"), "livemode": false, "metadata": [:],
      "payment_intent": told ?? .string(intent), "reason": .string(reason), "status": .string(status),
    ]
  }
}
