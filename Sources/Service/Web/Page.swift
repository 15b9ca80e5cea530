import Compression
import Text

/// The page's document, in all its forms: every address shows the same, which its script fills. What machines and people
/// without JavaScript get to read of an event is written into it, and whether there is nothing at the address.
struct Page: Sendable {
  /// The document between the places at which something is written into it.
  private let parts: [String]
  private let sendsMail: Bool
  /// The rest of the head without the script.
  private let still: String

  /// In the order of the document.
  private static let root = "<html lang=\"en\""
  private static let title = "<title>Onsale</title>"
  private static let head = "</head>"
  /// Not in a `noscript`, which browsers that are told to run nothing do not all show. The script replaces it.
  private static let plain = "<p class=\"plain notice\">Onsale needs JavaScript.</p>"

  /// - Parameters:
  ///   - version: of all other files; `VERSION` in the template stands for it.
  ///   - payment: how buyers say what they pay with, which the script reads.
  ///   - sendsMail: told to the script.
  ///   - honoursLate: whether payments that come late may buy their seats still, which the script is told, too.
  init(version: String, payment: PaymentEntry, sendsMail: Bool = false, honoursLate: Bool = false) {
    self.sendsMail = sendsMail
    let template = String(decoding: PackageResources.index_html, as: UTF8.self)
    var rest = template.split(separator: "VERSION", omittingEmptySubsequences: false).joined(
      separator: version)[...]
    var parts: [String] = []
    for mark in [Self.root, Self.title, Self.head, Self.plain] {
      guard let range = rest.firstRange(of: mark) else { preconditionFailure("the document has no \(mark)") }
      parts.append(String(rest[..<range.lowerBound]))
      rest = rest[range.upperBound...]
    }
    // Behind the root's name come its attributes.
    if honoursLate { parts[1] = " data-late-seats" + parts[1] }
    for (name, value) in payment.attributes {
      parts[1] = " \(name)=\"\(String(decoding: Escaping.attribute(value), as: UTF8.self))\"" + parts[1]
    }
    self.parts = parts + [String(rest)]
    still = parts[2].split(separator: "\n", omittingEmptySubsequences: false).filter {
      !$0.hasPrefix("<script")
    }
    .joined(separator: "\n")
    precondition(still != parts[2], "the document has no script")
  }

  /// For every address that is not an event's.
  var document: Asset {
    asset(
      title: "Onsale",
      plain: Array(
        """
        <p class="notice">Onsale needs JavaScript to keep your place in line up to date. Switch it on and load this page \
        again, or open its address in another browser: a place in line, held seats and tickets are kept meanwhile.</p>
        <p>What an event is, when and where, stands on its own page without JavaScript, too. See <a href="/">events</a>, \
        <a href="/tickets">your tickets</a> or <a href="/account">your account</a>.</p>
        """.utf8))
  }

  /// Of an event: its name as the title, itself as data in its head, which no browser runs and so no policy has to allow,
  /// and what matters of it for those who have no JavaScript.
  func describing(_ event: Web.Description) -> Asset {
    let name = Escaping.text(event.name)
    var data = Array("<script type=\"application/ld+json\">".utf8)
    data += Escaping.scriptJSON(event.json)
    data += Array("</script>\n".utf8)
    var plain = Array("<h1>".utf8) + name + Array("</h1>\n".utf8)
    for fact in event.facts { plain += Array("<p>".utf8) + Escaping.text(fact) + Array("</p>\n".utf8) }
    plain += Array("<p><a href=\"".utf8) + Escaping.attribute(event.calendarPath)
    plain += Array(
      """
      ">Put it into your calendar</a></p>
      <p class="notice">Tickets are sold here to browsers with JavaScript, which keeps your place in line up to date. \
      Switch it on and load this page again, or open its address in another browser.</p>
      """.utf8)
    return asset(title: String(decoding: name, as: UTF8.self) + " · Onsale", data: data, plain: plain)
  }

  /// The first page, with the form that looks for events, and what it has found. What was asked for is written back into it:
  /// there is no secret on this page that could be told by how well both compress together.
  func listing(_ listing: Web.Listing) -> Asset {
    var plain = Array("<div class=\"events\">\n<h1>Find your night out</h1>\n".utf8)
    plain += Array("<form class=\"search\" role=\"search\" action=\"/\">\n".utf8)
    for (name, label, type) in Self.fields { plain += field(name, label, type, listing.asked[name] ?? "") }
    let isChecked = listing.asked["include_sold_out"] != nil
    plain += Array(
      """
      <label class="check"><input type="checkbox" name="include_sold_out" value="1"\(isChecked ? " checked" : "")> \
      <span>Show sold out events</span></label>
      <button class="button primary">Search</button>
      </form>
      <p class="result-count">
      """.utf8)
    plain += Escaping.text(listing.summary)
    plain += Array("</p>\n<ul class=\"results\">\n".utf8)
    for entry in listing.entries {
      plain += Array("<li><h2><a href=\"".utf8) + Escaping.attribute(entry.path) + Array("\">".utf8)
      plain += Escaping.text(entry.name) + Array("</a></h2>".utf8)
      for fact in entry.facts { plain += Array("<p>".utf8) + Escaping.text(fact) + Array("</p>".utf8) }
      plain += Array("</li>\n".utf8)
    }
    plain += Array("</ul>\n".utf8)
    if let next = listing.nextPath {
      plain += Array("<p><a class=\"button\" rel=\"next\" href=\"".utf8) + Escaping.attribute(next)
      plain += Array("\">More events</a></p>\n".utf8)
    }
    if listing.isContinued { plain += Array("<p><a href=\"/\">Back to the first of them</a></p>\n".utf8) }
    plain += Array(
      """
      </div>
      <p class="notice">Tickets are sold here to browsers with JavaScript, which keeps your place in line up to date. \
      Switch it on and load this page again, or open its address in another browser.</p>
      """.utf8)
    return asset(title: "Events · Onsale", plain: plain, packing: .often)
  }

  /// Of the form, as the script has them: name, label, type.
  private static let fields = [
    ("terms", "Search events", "search"), ("location", "Place", "text"), ("from", "From", "date"),
    ("to", "To", "date"),
    ("max_price", "Highest price", "text"), ("currency", "in the currency, such as EUR", "text"),
    ("section", "Section with tickets left", "text"),
  ]

  private func field(_ name: String, _ label: String, _ type: String, _ value: String) -> [UInt8] {
    Array(
      "<p><label for=\"\(name)\">\(label)</label> <input id=\"\(name)\" name=\"\(name)\" type=\"\(type)\" value=\""
        .utf8)
      + Escaping.attribute(value) + Array("\"></p>\n".utf8)
  }

  /// What a browser can meet when it goes somewhere, and people read a page about.
  static let refusals = [400, 404, 405, 413, 414, 429, 431, 503]
  /// Those that end by themselves.
  static let passing: Set = [429, 503]

  /// For an address that nothing is at, or a request that is turned away.
  func refusing(_ status: Int) -> Asset {
    switch status {
    case 413: told("That is too much at once", "What was sent has more bytes than are taken here.")
    case 414:
      told(
        "The address is too long",
        "It may have been put together wrongly, or something was hung on to it. What stands in front of the question mark is "
          + "most often enough.")
    case 429:
      told(
        "That was a little too fast",
        "Very many requests come from where you are. This page tries again by itself in a few seconds. Nobody loses a place "
          + "in line or held seats by it.")
    case 431:
      told(
        "Your browser sends too much",
        "Most often those are cookies that have piled up: delete those of this site, and load the page again. You may "
          + "have to sign in again; tickets and places in line stay with your account.")
    case 503:
      told(
        "Very many people are here right now",
        "This page tries again by itself in a few seconds. Nobody loses a place in line or held seats by it.")
    default: missing(status)
    }
  }

  /// The script cannot see with what status it came, and is told.
  private func missing(_ status: Int) -> Asset {
    asset(
      // To the script it is all the same: there is nothing to show.
      attributes: " data-status=\"\(status == 405 ? 404 : status)\"", title: "Not found · Onsale",
      plain: Array(
        """
        <h1>There is no such page</h1>
        <p>The address may be mistyped, or the page is gone. <a href="/">Go to the first page</a>.</p>
        """.utf8))
  }

  /// Without the script, which would show something else in its place, and ask for more.
  private func told(_ title: String, _ text: String) -> Asset {
    asset(
      title: "\(title) · Onsale",
      plain: Array(
        "<h1>\(title)</h1>\n<p>\(text)</p>\n<p><a href=\"/\">Go to the first page</a>.</p>\n".utf8),
      runs: false)
  }

  /// All of it is HTML already.
  /// - Parameter runs: whether with the script.
  private func asset(
    attributes: String = "", title: String, data: [UInt8] = [], plain: [UInt8], runs: Bool = true,
    packing: Compress.Effort = .once
  ) -> Asset {
    let attributes = attributes + (sendsMail ? " data-mail" : "")
    var bytes = Array(parts[0].utf8)
    bytes += Array(
      "\(Self.root)\(attributes)\(parts[1])<title>\(title)</title>\(runs ? parts[2] : still)".utf8)
    bytes += data
    bytes += Array("\(Self.head)\(parts[3])<div class=\"plain\">".utf8)
    bytes += plain
    bytes += Array("</div>\(parts[4])".utf8)
    return Asset(name: "index.html", body: bytes, packing: packing)
  }
}
