import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Postgres
import Redis
import StoreCommon
import Testing

@Suite("Problems")
struct ProblemTests {
  private struct Surprise: Error {}

  @Test("Every failure of a server is a 503 with Retry-After, every mistake of ours a 500")
  func servers() {
    let unavailable: [any Error] = [
      RedisError(.unavailable, ""), RedisError(.timeout, ""), RedisError(.connectionLost, ""),
      RedisError(.server("OOM"), ""), RedisError(.server("LOADING"), ""), RedisError(.server("READONLY"), ""),
      RedisError(.server("MISCONF"), ""), RedisError(.server("CLUSTERDOWN"), ""),
      PostgresError(.unavailable, ""),
      PostgresError(.connectionLost, ""), PostgresError(.outcomeUnknown, ""), PostgresError(.timeout, ""),
      PostgresError(.server, "", sqlState: "40001"), PostgresError(.server, "", sqlState: "40P01"),
      PostgresError(.server, "", sqlState: "53300"), PostgresError(.server, "", sqlState: "57P03"),
      PostgresError(.server, "", sqlState: "25006"), StoreError(.staleEpoch, ""), GroupCommitFull(),
      AuthError(.busy, ""), CancellationError(),
    ]
    for error in unavailable {
      let response = problem(for: error).response
      #expect(response.status == 503, "\(error)")
      #expect(response.header("Retry-After").flatMap { Int($0) } ?? 0 >= 1)
    }
    let ours: [any Error] = [
      RedisError(.server("ERR"), "secret"), RedisError(.server("WRONGTYPE"), ""),
      PostgresError(.server, "secret", sqlState: "42P01"), PostgresError(.server, ""),
      StoreError(.unexpectedAnswer, "secret"), Surprise(), AuthError(.configuration, "secret"),
    ]
    for error in ours {
      let response = problem(for: error).response
      #expect(response.status == 500, "\(error)")
      #expect(!String(decoding: response.body, as: UTF8.self).contains("secret"))
    }
  }

  @Test("Refusals keep their meaning")
  func refusals() {
    #expect(problem(for: StoreError(.notFound, "")).status == 404)
    #expect(problem(for: StoreError(.conflict, "")).status == 409)
    #expect(problem(for: StoreError(.invalid, "")).status == 422)
    #expect(problem(for: StoreError(.noQueue, "")).code == "not_open")
    #expect(problem(for: AuthError(.signature, "")).status == 401)
    #expect(problem(for: AuthError(.expired, "")).code == "token_expired")
    #expect(problem(for: PostgresError(.server, "", sqlState: "22021")).status == 400)
    #expect(problem(for: Problem(418, "x", "y")) == Problem(418, "x", "y"))
  }

  @Test("A problem is what RFC 9457 says, and says how to authenticate")
  func form() throws {
    let response = Problem(401, "unauthorized", "Say \"please\".").response
    #expect(response.header("Content-Type") == "application/problem+json")
    #expect(response.header("WWW-Authenticate") == "Bearer")
    let json = try JSON(parsing: response.body)
    #expect(json["status"] == 401)
    #expect(json["code"] == "unauthorized")
    #expect(json["detail"] == "Say \"please\".")
    #expect(json["title"]?.string?.isEmpty == false && json["type"]?.string?.isEmpty == false)
  }
}
