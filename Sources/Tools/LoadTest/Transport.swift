import EventLoop

/// A request of a buyer, ready to be sent.
struct BuyerRequest {
  var method: String
  /// With the query.
  var path: String
  var token: String?
  /// JSON; empty for none.
  var body: String
}

/// What came back.
enum BuyerResponse {
  case answer(status: Int, retryAfterSeconds: Int?, body: [UInt8])
  /// Why there is no answer.
  case failure(code: String)
}

/// Sends requests; as many at a time as the caller begins.
@LoopActor
protocol Transport: AnyObject {
  /// - Parameter done: called exactly once, on the loop; before this returns if nothing could be sent.
  func send(
    _ request: BuyerRequest, timeoutMilliseconds: Int, _ done: @escaping @LoopActor (BuyerResponse) -> Void)
  func close()
}
