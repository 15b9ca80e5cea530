/// What a buyer has said of other seats, should their payment come when theirs are somebody else's.
package enum OtherSeats: String, Sendable {
  /// Nothing, or that no others will do.
  case notAgreed = "not agreed"
  /// As good ones of the same section will do.
  case agreed
  /// They were chosen by name, so that no others are as good, whatever was said.
  case notApplicable = "n/a"
}
