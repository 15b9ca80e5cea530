import Sale
import Testing

@Suite("Sales that PostgreSQL has forgotten")
struct ForgottenSalesTests {
  private typealias Told = ForgottenSales.Told

  @Test("What was sold and is neither sold nor claimed is suspect")
  func suspects() {
    let bitmap = Bitmap.of([1, 3, 8, 64])
    #expect(
      ForgottenSales.suspects(bitmap: bitmap, tickets: Array(1...70), sold: [3], claimed: [8]) == [1, 64])
    #expect(ForgottenSales.suspects(bitmap: [], tickets: [1, 2], sold: [], claimed: []) == [])
    #expect(ForgottenSales.suspects(bitmap: [0, 0], tickets: [1, 2], sold: [], claimed: []) == [])
    #expect(ForgottenSales.lacks(bitmap, [1, 2]) && !ForgottenSales.lacks(bitmap, [1, 64]))
    #expect(ForgottenSales.lacks([], [1]) && !ForgottenSales.lacks([], []))
  }

  @Test("A ticket of a request that is told so, and of which there is no purchase, is forgotten")
  func forgotten() {
    let told = [
      Told(position: 5, attempt: 1, tickets: [1, 2]), Told(position: 6, attempt: 1, tickets: [3]),
    ]
    let sales = ForgottenSales(free: [1, 2, 3], neverSold: [1, 2, 3], told: told, known: [6])
    #expect(sales.tickets == [1, 2] && sales.positions == [5])
  }

  @Test("A ticket that was given back and sold to another, whose purchase is lost, is forgotten")
  func givenBackAndSoldAgain() {
    let told = [Told(position: 5, attempt: 1, tickets: [1]), Told(position: 9, attempt: 1, tickets: [1])]
    let sales = ForgottenSales(free: [1], neverSold: [], told: told, known: [5])
    #expect(sales.tickets == [1] && sales.positions == [9])
  }

  @Test("A ticket that nobody is told of is forgotten unless PostgreSQL knows that somebody had it")
  func earlierLife() {
    let sales = ForgottenSales(free: [1, 2], neverSold: [2], told: [], known: [])
    #expect(sales.tickets == [2] && sales.positions == [])
  }

  @Test("A ticket that PostgreSQL has sold meanwhile is not forgotten")
  func late() {
    let sales = ForgottenSales(
      free: [], neverSold: [], told: [Told(position: 5, attempt: 1, tickets: [1])], known: [])
    #expect(sales == ForgottenSales())
  }

  @Test("Only what both looks saw counts")
  func agreement() {
    func look(_ tickets: Set<Int>) -> ForgottenSales {
      ForgottenSales(
        free: tickets, neverSold: tickets,
        told: tickets.map { Told(position: $0 * 10, attempt: 1, tickets: [$0]) }, known: [])
    }
    #expect(look([1, 2]).agreeing(with: look([2, 3])) == look([2]))
    #expect(look([1]).agreeing(with: look([])) == ForgottenSales())
  }
}
