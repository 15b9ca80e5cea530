package import EventLoop
package import HTTPServer
package import Identity
package import Ledger

/// Tells who makes a request.
@LoopActor
package struct Authenticator {
  private let verifier: TokenVerifier
  private let cookies: SessionCookies

  package init(_ verifier: TokenVerifier, cookies: SessionCookies = SessionCookies(isSecure: false)) {
    self.verifier = verifier
    self.cookies = cookies
  }

  /// Who was let in, from the headers of a request on.
  private final class Admitted: Sendable {
    let claims: Claims
    init(_ claims: Claims) { self.claims = claims }
  }

  /// Whoever the bearer token speaks for, or the token in the cookie of this site's own page: somebody, and no guest.
  /// - Throws: 401 `unauthorized`, `invalid_token`, `token_expired` or `session_ended`; 403 `account_required`.
  package func user(_ request: HTTPRequest) throws(Problem) -> Claims {
    let claims = try visitor(request)
    guard claims.role >= .customer else { throw Self.accountRequired }
    return claims
  }

  private static let accountRequired = Problem(
    403, "account_required", "A guest may only look. This needs an account: sign in, or make one.")

  /// The same, guests included: for what everybody may see. Verified once a request.
  /// - Throws: 401 as `user`.
  package func visitor(_ request: HTTPRequest) throws(Problem) -> Claims {
    if let admitted = request.identity as? Admitted { return admitted.claims }
    let claims = try verified(request)
    request.identity = Admitted(claims)
    return claims
  }

  private func verified(_ request: HTTPRequest) throws(Problem) -> Claims {
    guard let header = request.header("Authorization") else {
      if let token = cookies.accessToken(request) { return try verify(token) }
      throw Problem(401, "unauthorized", "This needs a bearer token in the Authorization header.")
    }
    let space = UInt8(ascii: " ")
    let scheme = header.utf8.prefix { $0 != space }
    let token = header.utf8[scheme.endIndex...].drop { $0 == space }
    guard Substring(scheme).lowercased() == "bearer", !token.isEmpty else {
      throw Problem(401, "unauthorized", "The Authorization header must be `Bearer` and a token.")
    }
    return try verify(String(Substring(token)))
  }

  private func verify(_ token: String) throws(Problem) -> Claims {
    do throws(AuthError) {
      return try verifier.verify(token)
    } catch {
      throw problem(for: error)
    }
  }

  /// The same, for organizers and managers only.
  /// - Throws: also 403 `forbidden`.
  package func organizer(_ request: HTTPRequest) throws(Problem) -> Claims {
    let claims = try user(request)
    guard claims.role >= .organizer else { throw Problem(403, "forbidden", "This is for organizers.") }
    return claims
  }

  /// What a request without a valid token is answered, or with a guest's, before its body is received: nobody sends one who
  /// may not.
  package func refusesStrangers(_ request: HTTPRequest) -> HTTPResponse? {
    do throws(Problem) {
      _ = try user(request)
      return nil
    } catch {
      return error.response
    }
  }

  /// The same where guests may look.
  package func refusesAllWithoutToken(_ request: HTTPRequest) -> HTTPResponse? {
    do throws(Problem) {
      _ = try visitor(request)
      return nil
    } catch {
      return error.response
    }
  }

  /// The same for anybody but an organizer.
  package func refusesAllButOrganizers(_ request: HTTPRequest) -> HTTPResponse? {
    do throws(Problem) {
      _ = try organizer(request)
      return nil
    } catch {
      return error.response
    }
  }
}

extension Claims {
  /// Whether somebody sees and changes an event as its organizer.
  package func manages(_ owner: EventOwner) -> Bool {
    switch role {
    case .guest, .customer: false
    case .organizer: owner.isOne(user, of: organizations)
    case .manager: true
    }
  }
}

/// Answers by a task; whatever `body` throws becomes a problem.
@LoopActor
package func answer(_ body: @escaping @LoopActor () async throws -> HTTPResponse) -> HTTPAnswer {
  .later {
    do { return try await body() } catch { return problem(for: error).response }
  }
}

/// Answers at once where `body` can; whatever it throws becomes a problem, without a task.
@LoopActor
package func checked(_ body: @LoopActor () throws -> HTTPAnswer) -> HTTPAnswer {
  do { return try body() } catch { return .now(problem(for: error).response) }
}
