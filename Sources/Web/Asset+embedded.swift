import Foundation
import Onsale
import Text

extension Asset {
  /// The page itself. `VERSION` in it stands for the version of all other files.
  static func page(version: String) -> Asset {
    let template = String(decoding: PackageResources.index_html, as: UTF8.self)
    let parts = template.split(separator: "VERSION", omittingEmptySubsequences: false)
    return Asset(name: "index.html", body: Array(parts.joined(separator: version).utf8))
  }

  /// The page with an event's name as its title, and the event as data in its head: no browser runs that, and so
  /// no policy has to allow it.
  func describing(_ event: Web.Description) -> Asset {
    guard let title = body.firstRange(of: Self.title), let end = body.firstRange(of: Self.end) else {
      return self
    }
    var made = Array(body[..<title.lowerBound])
    made += Array("<title>".utf8) + Escaping.text(event.name) + Array(" · Onsale</title>".utf8)
    made += body[title.upperBound..<end.lowerBound]
    made += Array("<script type=\"application/ld+json\">".utf8) + Escaping.scriptJSON(event.json)
    made += Array("</script>\n".utf8) + body[end.lowerBound...]
    return Asset(name: name, body: made)
  }

  private static let title = Array("<title>Onsale</title>".utf8)
  private static let end = Array("</head>".utf8)

  /// The currencies of `Currency`, by their codes, with the digits behind the point: a browser's own are not ISO's.
  private static let currencies = Asset(
    name: "currencies.js",
    body: Array(
      ("// Digits behind the point of each currency, by ISO 4217.\n\nexport const currencyDigits = {\n"
        + Currency.all.map { "  \($0.code): \($0.digits),\n" }.joined() + "};\n").utf8))

  /// Every other file. A new one in Assets is added here; a test compares the list with what the page asks for.
  static let others: [Asset] = [
    Asset(name: "account.js", body: PackageResources.account_js),
    Asset(name: "api.js", body: PackageResources.api_js),
    Asset(name: "app.js", body: PackageResources.app_js),
    Asset(name: "checkout.js", body: PackageResources.checkout_js),
    Asset(name: "clock.js", body: PackageResources.clock_js),
    .currencies,
    Asset(name: "dom.js", body: PackageResources.dom_js),
    Asset(name: "ending.js", body: PackageResources.ending_js),
    Asset(name: "event.js", body: PackageResources.event_js),
    Asset(name: "form.js", body: PackageResources.form_js),
    Asset(name: "format.js", body: PackageResources.format_js),
    Asset(name: "icon.svg", body: PackageResources.icon_svg),
    Asset(name: "known.js", body: PackageResources.known_js),
    Asset(name: "line.js", body: PackageResources.line_js),
    Asset(name: "order.js", body: PackageResources.order_js),
    Asset(name: "picker.js", body: PackageResources.picker_js),
    Asset(name: "poster.js", body: PackageResources.poster_js),
    Asset(name: "queue.js", body: PackageResources.queue_js),
    Asset(name: "sale.js", body: PackageResources.sale_js),
    Asset(name: "search.js", body: PackageResources.search_js),
    Asset(name: "seatdraw.js", body: PackageResources.seatdraw_js),
    Asset(name: "seatmap.js", body: PackageResources.seatmap_js),
    Asset(name: "seats.js", body: PackageResources.seats_js),
    Asset(name: "session.js", body: PackageResources.session_js),
    Asset(name: "stub.js", body: PackageResources.stub_js),
    Asset(name: "style.css", body: PackageResources.style_css),
    Asset(name: "tickets.js", body: PackageResources.tickets_js),
    Asset(name: "waiting.js", body: PackageResources.waiting_js),
  ]
}
