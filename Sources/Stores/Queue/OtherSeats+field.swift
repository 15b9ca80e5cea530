import Sale

extension OtherSeats {
  /// As an entry of the stream has it.
  init(field: String) {
    self = field == "1" ? .agreed : field == "n" ? .notApplicable : .notAgreed
  }

  var field: String {
    switch self {
    case .agreed: "1"
    case .notApplicable: "n"
    case .notAgreed: ""
    }
  }
}
