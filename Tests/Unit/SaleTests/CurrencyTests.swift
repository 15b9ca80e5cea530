import Testing

@testable import Sale

@Suite("Currencies")
struct CurrencyTests {
  @Test(
    "An amount is written with the digits of ISO 4217",
    arguments: [
      ("HUF", 1_590_000, "15900.00"), ("IDR", 50_000_000, "500000.00"), ("COP", 9_900_000, "99000.00"),
      ("PKR", 250_000, "2500.00"), ("ISK", 15_900, "15900"), ("UGX", 80_000, "80000"), ("JPY", 8_800, "8800"),
      ("KWD", 12_340, "12.340"), ("MGA", 200_000, "2000.00"), ("EUR", 5, "0.05"), ("KWD", 5, "0.005"),
    ])
  func texts(_ code: String, _ amount: Int, _ text: String) throws {
    #expect(try #require(Currency(code: code)).text(amount) == text)
  }

  @Test(
    "The provider's units are its own, and back they are the same amount",
    arguments: [
      ("EUR", 2_500, 2_500), ("HUF", 1_590_000, 1_590_000), ("JPY", 8_800, 8_800), ("ISK", 15_900, 1_590_000),
      ("UGX", 80_000, 8_000_000), ("KWD", 12_340, 12_340), ("MGA", 200_000, 2_000), ("XOF", 5_000, 5_000),
    ])
  func units(_ code: String, _ amount: Int, _ atProvider: Int) throws {
    let currency = try #require(Currency(code: code))
    #expect(currency.providerAmount(amount) == atProvider)
    #expect(currency.amount(ofProvider: atProvider) == amount)
  }

  @Test(
    "Of every currency, each amount that may be charged is exact at the provider", arguments: Currency.all)
  func everyOne(_ currency: Currency) {
    #expect(currency.payment.lowerBound % currency.step == 0)
    let amounts = [
      currency.payment.lowerBound, currency.payment.lowerBound + currency.step, currency.payment.upperBound,
    ]
    for amount in amounts {
      #expect(currency.problem(withPrice: amount) == nil)
      #expect(currency.amount(ofProvider: currency.providerAmount(amount)) == amount)
    }
    #expect(currency.problem(withPrice: 0) == nil)
    #expect(currency.problem(withPrice: currency.payment.upperBound + 1) != nil)
    if currency.step > 1 { #expect(currency.problem(withPrice: currency.payment.lowerBound + 1) != nil) }
  }

  @Test(
    "What the provider cannot charge is refused with its reason",
    arguments: [
      ("USD", 49, "below the least"), ("GBP", 29, "below the least"), ("JPY", 49, "below the least"),
      ("HUF", 17_499, "below the least"), ("MXN", 999, "below the least"),
      ("KWD", 12_345, "multiple of 0.010"),
      ("MGA", 200_050, "multiple of 1.00"), ("EUR", 100_000_000, "above what can be charged"),
    ])
  func problems(_ code: String, _ price: Int, _ part: String) throws {
    let problem = try #require(Currency(code: code)).problem(withPrice: price)
    #expect(problem?.contains(part) == true, "\(problem ?? "none")")
  }

  @Test("As many tickets as one person may buy must fit one payment")
  func wholeOrders() throws {
    let euro = try #require(Currency(code: "EUR"))
    #expect(euro.problem(withPrice: 20_000_000, tickets: 4) == nil)
    #expect(euro.problem(withPrice: 20_000_000, tickets: 10) != nil)
    let rupiah = try #require(Currency(code: "IDR"))
    #expect(rupiah.problem(withPrice: 50_000_000, tickets: 50) == nil)
  }

  @Test(
    "What is no currency, or none that can be charged, is not in the table",
    arguments: [
      "XXX", "XAU", "XTS", "ZZZ", "eur", "", "EURO", "BTC", "DEM", "KPW", "IRR",
    ])
  func unknown(_ code: String) { #expect(Currency(code: code) == nil) }

  @Test(
    "A card's number is found in whatever it stands",
    arguments: [
      "4242424242424242", "4242-4242-4242-4242", "4242.4242.4242.4242", "pm_4242424242424242",
      "card:4242424242424242",
      "378282246310005", "6011111111111117", "5555555555554444", "4242424242424242/12/34/123",
      "4242_4242_4242_4242", "424242424242424212/34", "2223003122003222", "4000002760003184",
    ])
  func cards(_ text: String) { #expect(CardNumber.isIn(text)) }

  @Test(
    "The provider's names are no card numbers",
    arguments: [
      "pm_card_visa", "pm_1NVChw2eZvKYlo2CHxiM5E2E", "tok_1N3T00LkdIwHu7ixt44h1F8k",
      "ctoken_1NnQUf2eZvKYlo2C",
      "4242424242424241", "1234567890", "pm_0000000000000000", "card_19yUNL2eZvKYlo2CNGsN6EWH",
    ])
  func names(_ text: String) { #expect(!CardNumber.isIn(text)) }
}
