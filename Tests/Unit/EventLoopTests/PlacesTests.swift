import Testing

@testable import EventLoop

@LoopActor
@Suite("Places", .timeLimit(.minutes(1)))
struct PlacesTests {
  /// What is under way until it is told to end.
  final class Work {
    var begun: [Int] = []
    var ended: Set<Int> = []
    var mayEnd: Set<Int> = []
  }

  private func take(_ places: Places<Int>, _ work: Work, _ number: Int) {
    places.take(number) {
      work.begun.append(number)
      while !work.mayEnd.contains(number) { try? await sleep(milliseconds: 1) }
      work.ended.insert(number)
    }
  }

  @Test("What takes long has one place, and the others are had again and again")
  func slow() async throws {
    let places = Places<Int>(4), work = Work()
    take(places, work, 0)
    work.mayEnd = Set(1...40)
    for number in 1...40 {
      #expect(await places.room(milliseconds: 30_000) > 0)
      take(places, work, number)
    }
    while work.ended.count < 40 { try await sleep(milliseconds: 1) }
    #expect(work.begun == Array(0...40))
    #expect(!work.ended.contains(0) && places.free == 3)
    work.mayEnd.insert(0)
    await places.end()
    #expect(places.free == 4)
  }

  @Test("There are no more than there are, and who waits for one waits only so long")
  func bounded() async throws {
    let places = Places<Int>(2), work = Work()
    take(places, work, 1)
    take(places, work, 2)
    #expect(await places.room(milliseconds: 5) == 0)
    work.mayEnd = [1]
    #expect(await places.room(milliseconds: 30_000) == 1)
    work.mayEnd = [1, 2]
    await places.end()
  }

  @Test("What is under way is not begun once more, and may be after it has ended")
  func once() async throws {
    let places = Places<Int>(2), work = Work()
    take(places, work, 1)
    take(places, work, 1)
    #expect(places.free == 1)
    work.mayEnd = [1]
    await places.end()
    take(places, work, 1)
    await places.end()
    #expect(work.begun == [1, 1])
  }

  @Test("The end waits for what is under way, also where it was cancelled")
  func ended() async throws {
    let places = Places<Int>(2), work = Work()
    take(places, work, 1)
    let ending = Task { @LoopActor in
      await places.end()
      return work.ended
    }
    ending.cancel()
    try await sleep(milliseconds: 5)
    work.mayEnd = [1]
    #expect(await ending.value == [1])
  }
}
