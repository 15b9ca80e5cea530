import Sale

extension Asset {
  /// Every other file that the page asks for; a test compares the list with that.
  static let others: [Asset] =
    Bundle.of("app.js", later: later, modules).map { script($0.name, $0.text) } + [
      Asset(name: "icon.svg", body: PackageResources.icon_svg),
      script("style.css", String(decoding: PackageResources.style_css, as: UTF8.self)),
    ]

  /// What the first view does not need.
  private static let later = ["turn.js"]

  private static func script(_ name: String, _ source: String) -> Asset {
    Asset(name: name, body: Array(PlainSource.of(source).utf8))
  }

  /// The currencies of `Currency`, by their codes, with the digits behind the point: a browser's own are not ISO's. And
  /// those that the provider counts with other digits.
  private static let currencies =
    "// Digits behind the point of each currency, by ISO 4217.\n\n"
    + table("currencyDigits", of: Currency.all, \.digits) + "\n// Where the provider counts others.\n\n"
    + table("providerDigits", of: Currency.all.filter { $0.providerDigits != $0.digits }, \.providerDigits)

  private static func table(_ name: String, of currencies: [Currency], _ digits: (Currency) -> Int) -> String
  {
    let lines = currencies.map { "  \($0.code): \(digits($0)),\n" }
    return "export const \(name) = {\n\(lines.joined())};\n"
  }

  /// The modules that the bundle is made of. A new one in Assets is added here.
  static let modules: [String: String] = embedded.mapValues { String(decoding: $0, as: UTF8.self) }
    .merging(["currencies.js": currencies]) { $1 }

  private static let embedded: [String: [UInt8]] = [
    "account.js": PackageResources.account_js,
    "api.js": PackageResources.api_js,
    "app.js": PackageResources.app_js,
    "checkout.js": PackageResources.checkout_js,
    "clock.js": PackageResources.clock_js,
    "dom.js": PackageResources.dom_js,
    "drawnplan.js": PackageResources.drawnplan_js,
    "ending.js": PackageResources.ending_js,
    "event.js": PackageResources.event_js,
    "favicon.js": PackageResources.favicon_js,
    "form.js": PackageResources.form_js,
    "format.js": PackageResources.format_js,
    "held.js": PackageResources.held_js,
    "known.js": PackageResources.known_js,
    "line.js": PackageResources.line_js,
    "machines.js": PackageResources.machines_js,
    "order.js": PackageResources.order_js,
    "pace.js": PackageResources.pace_js,
    "paymentform.js": PackageResources.paymentform_js,
    "picker.js": PackageResources.picker_js,
    "poster.js": PackageResources.poster_js,
    "queue.js": PackageResources.queue_js,
    "requests.js": PackageResources.requests_js,
    "sale.js": PackageResources.sale_js,
    "search.js": PackageResources.search_js,
    "seatdraw.js": PackageResources.seatdraw_js,
    "seatmap.js": PackageResources.seatmap_js,
    "seats.js": PackageResources.seats_js,
    "session.js": PackageResources.session_js,
    "stub.js": PackageResources.stub_js,
    "tickets.js": PackageResources.tickets_js,
    "turn.js": PackageResources.turn_js,
    "waiting.js": PackageResources.waiting_js,
    "wall.js": PackageResources.wall_js,
  ]
}
