/// What a currency's amounts are counted in, and what the payment provider takes of it: the one table for prices in the
/// API, on the page, in search and at the provider.
///
/// An amount is a whole number of the minor unit that ISO 4217 gives the currency, everywhere but at the provider, whose
/// own units differ for some. Currencies that the provider does not take are not in the table.
package struct Currency: Hashable, Sendable {
  /// ISO 4217, upper case.
  package let code: String
  /// Digits behind the point, by ISO 4217.
  package let digits: Int
  /// Digits that the provider counts.
  package let providerDigits: Int
  /// The provider takes multiples of this only.
  package let step: Int
  /// What one payment may amount to.
  package let payment: ClosedRange<Int>

  private init(_ code: String) {
    self.code = code
    digits = Self.withoutMinorUnit.contains(code) ? 0 : Self.ofThousandths.contains(code) ? 3 : 2
    providerDigits =
      Self.wholeAtProvider.contains(code) ? 0 : Self.hundredthsAtProvider.contains(code) ? 2 : digits
    // Of thousandths the last digit must be 0; and what the provider counts in whole units is nothing but whole.
    step = digits == 3 ? 10 : Self.power(digits - providerDigits)
    let highest = Self.power(Self.maximumDigits(code)) - 1
    let unit = Self.power(digits)
    let least = (Self.minimumInHundredths[code] ?? 0) * unit / 100
    let most = highest / Self.power(providerDigits - digits) * Self.power(digits - providerDigits)
    payment = max(least, step)...(most / step * step)
  }

  /// `nil` for what the provider does not take, and for what is no currency.
  package init?(code: String) {
    guard let known = Self.byCode[code] else { return nil }
    self = known
  }

  /// In the order of their codes.
  package static let all = byCode.values.sorted { $0.code < $1.code }

  // MARK: Units

  /// The amount as the provider counts it; that of a price that `problem` finds nothing wrong with is exact.
  package func providerAmount(_ amount: Int) -> Int {
    amount * Self.power(providerDigits - digits) / Self.power(digits - providerDigits)
  }

  /// The amount of what the provider counts.
  package func amount(ofProvider amount: Int) -> Int {
    amount * Self.power(digits - providerDigits) / Self.power(providerDigits - digits)
  }

  /// A plain number of the main unit, such as `15900.00`.
  package func text(_ amount: Int) -> String {
    if digits == 0 { return String(amount) }
    let text = String(amount.magnitude)
    let padded = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
    return (amount < 0 ? "-" : "") + padded.dropLast(digits) + "." + padded.suffix(digits)
  }

  // MARK: Rules

  /// What is wrong with the price of one ticket, to follow "the price"; `nil` when nothing is. Free is right.
  package func problem(withPrice price: Int) -> String? {
    if price == 0 { return nil }
    if price < payment.lowerBound {
      return "is below the least that can be charged, \(text(payment.lowerBound)) \(code) "
        + "(\(payment.lowerBound) minor units)"
    }
    if price > payment.upperBound { return "is above what can be charged" + most }
    if price % step != 0 {
      return "must be a multiple of \(text(step)) \(code) (\(step) minor units): "
        + "nothing in between can be charged"
    }
    return nil
  }

  /// What is wrong with so many tickets of that price in one payment; `nil` when nothing is.
  package func problem(withPrice price: Int, tickets: Int) -> String? {
    if let problem = problem(withPrice: price) { return problem }
    if price <= payment.upperBound / tickets { return nil }
    return "is too high for \(tickets) tickets a person: together they are above what can be charged at once"
      + most
  }

  private var most: String { ", \(text(payment.upperBound)) \(code) (\(payment.upperBound) minor units)" }

  // MARK: The table

  private static func power(_ exponent: Int) -> Int {
    (0..<max(0, exponent)).reduce(1) { power, _ in power * 10 }
  }

  private static func codes(_ text: String) -> Set<String> {
    Set(text.split(whereSeparator: \.isWhitespace).map(String.init))
  }

  private static let byCode = Dictionary(
    uniqueKeysWithValues: codes(
      """
      AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CLP
      CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR
      ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN
      MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE
      SOS SRD SZL THB TJS TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW
      """
    ).map { ($0, Currency($0)) })

  private static let withoutMinorUnit = codes(
    "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF")
  private static let ofThousandths = codes("BHD JOD KWD OMR TND")
  /// Has hundredths by ISO, fifths in truth, and none at the provider.
  private static let wholeAtProvider = codes("MGA")
  /// Have none by ISO any more, and two zeros at the provider.
  private static let hundredthsAtProvider = codes("ISK UGX")

  /// The least that one payment may be, as the provider publishes it. Of other currencies it is what is worth as much in
  /// the currency of the account, which only the provider knows.
  private static let minimumInHundredths = [
    "AED": 200, "AUD": 50, "BGN": 100, "BRL": 50, "CAD": 50, "CHF": 50, "CZK": 1_500, "DKK": 250, "EUR": 50,
    "GBP": 30, "HKD": 400, "HUF": 17_500, "INR": 50, "JPY": 5_000, "MXN": 1_000, "MYR": 200, "NOK": 300,
    "NZD": 50, "PLN": 200, "RON": 200, "SEK": 300, "SGD": 50, "THB": 1_000, "USD": 50,
  ]

  /// Digits of the largest amount, in the provider's units. Eight is what it publishes, and more for some. Eight would be
  /// no ticket where one unit is worth next to nothing: what it refuses there all the same, its buyer is told.
  private static func maximumDigits(_ code: String) -> Int {
    if ["IDR", "LBP"].contains(code) { return 12 }
    return ofLittleWorth.contains(code) ? 10 : 8
  }

  private static let ofLittleWorth = codes(
    """
    AMD AOA ARS CDF COP CRC HUF INR ISK JMD KHR KZT LAK LKR LRD MMK MNT MWK NGN PKR RSD SOS TZS UGX UZS YER
    """)
}
