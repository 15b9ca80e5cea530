import EventLoop

/// One request and its answer, from the request line to the last byte sent.
@LoopActor
final class Exchange {
  var method: HTTPMethod
  var path: String
  var body: [UInt8]
  var route: Route?
  var values: [String] = []
  var queryItems: [(name: String, value: String)] = []
  private let ownHeaders: HTTPResponse.Headers

  init(method: HTTPMethod, target: String, headers: HTTPResponse.Headers, body: [UInt8]) {
    self.method = method
    self.path = target
    self.body = body
    ownHeaders = headers
  }

  func header(_ name: String) -> String? {
    ownHeaders.first { $0.name.lowercased() == name.lowercased() }?.value
  }

  var clientAddress: String { "" }
}
