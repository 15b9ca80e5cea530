import EventLoop
import HTTPCommon
import HTTPServer
import JSON
import Ledger
import Postgres
import Testing

@testable import Catalog

@Suite("How addresses and passwords are spelled")
@LoopActor
struct SpellingTests {
  @Test("A password and an address are the same however their accents are typed; what nobody sees is refused")
  func spelling() async throws {
    let service = try await Service.shared()
    let composed = "gru\u{DF}-\u{E9}t\u{E9}", apart = "gru\u{DF}-e\u{301}te\u{301}"
    func account(_ email: String, _ password: String) -> JSON {
      ["name": "N", "email": .string(email), "password": .string(password)]
    }
    func session(_ email: String, _ password: String) -> JSON {
      ["email": .string(email), "password": .string(password)]
    }
    let first = await service.call(.post, "/api/users", account("Ren\u{E9}@Example.COM", composed))
    #expect(first.status == 201, "\(first.text)")
    #expect(
      await service.call(.post, "/api/users", account("rene\u{301}@example.com", composed)).status == 409)
    for (email, password) in [
      ("ren\u{E9}@example.com", apart), ("RENE\u{301}@example.com", composed),
      ("rene\u{301}@EXAMPLE.com", apart),
    ] {
      #expect(await service.call(.post, "/api/sessions", session(email, password)).status == 200, "\(email)")
    }
    #expect(
      await service.call(.post, "/api/sessions", session("ren\u{E9}@example.com", "another word")).status
        == 401)
    for email in [
      "a\u{200B}b@example.com", "a@exam\u{200D}ple.com", "a\u{FEFF}@example.com", "a\u{AD}@example.com",
      "a@example.com.",
      "a.@example.com", ".a@example.com", "a@example..com", "a@.example.com", "a\u{2060}@example.com",
    ] {
      #expect(await service.call(.post, "/api/users", account(email, composed)).status == 400, "\(email)")
      #expect(await service.call(.post, "/api/sessions", session(email, composed)).status == 400, "\(email)")
    }
  }

  @Test("A domain in letters of its language, in wide ones and encoded is one, and has one account")
  func domains() async throws {
    let service = try await Service.shared()
    let users = UserStore(service.postgres)
    let password = "correct horse battery"
    func account(_ email: String) -> JSON {
      ["name": "N", "email": .string(email), "password": .string(password)]
    }
    let groups = [
      [
        "mina.idn@b\u{FC}cher.example", "mina.idn@xn--bcher-kva.example", "MINA.idn@BU\u{308}CHER.example",
        "mina.idn@XN--BCHER-KVA.Example",
      ],
      [
        "ken.idn@\u{FF45}xample.org", "ken.idn@example.org", "ken.idn@example\u{3002}org",
        "ken.idn@ex\u{FF21}mple.org",
      ],
      ["lea.idn@fa\u{DF}.de", "lea.idn@xn--fa-hia.de"], ["lea.idn@fass.de"],
    ]
    for group in groups {
      for made in group {
        _ = try await service.postgres.query("DELETE FROM users WHERE email LIKE '%.idn@%'")
        let answer = await service.call(.post, "/api/users", account(made))
        #expect(answer.status == 201, "\(made): \(answer.text)")
        for other in group {
          #expect(await service.call(.post, "/api/users", account(other)).status == 409, "\(made) \(other)")
          #expect(try await users.credentials(EmailAddress(other).spellings) != nil, "\(made) \(other)")
        }
        let session = await service.call(
          .post, "/api/sessions", ["email": .string(group[0]), "password": .string(password)])
        #expect(session.status == 200, "\(made)")
        for stranger in groups where stranger != group {
          #expect(try await users.known(EmailAddress(stranger[0]).spellings) == nil, "\(made) \(stranger[0])")
        }
      }
    }
  }

  @Test("An account that a version before made under another spelling of its domain is found by each")
  func former() async throws {
    let service = try await Service.shared()
    let users = UserStore(service.postgres)
    let spellings = ["uli@k\u{F6}ln.example", "uli@xn--kln-sna.example"]
    for stored in spellings {
      _ = try await service.postgres.query("DELETE FROM users WHERE email = ANY(\(spellings)::text[])")
      _ = try #require(try await users.create(name: "U", email: stored, password: "-"))
      for typed in spellings {
        #expect(try await users.known(EmailAddress(typed).spellings) == stored, "\(stored) \(typed)")
      }
    }
    // Both were made: each is got into by its own.
    _ = try await users.create(name: "U", email: spellings[0], password: "-")
    for typed in spellings {
      #expect(try await users.known(EmailAddress(typed).spellings) == typed)
    }
    // Which is told to the operator.
    #expect(
      try await users.addressesWithSpellings(after: "", limit: 10_000).filter(spellings.contains).count == 2)
    #expect(
      try await Set(users.accounts(EmailAddress(spellings[0]).spellings).map(\.email)) == Set(spellings))
  }

  @Test(
    "What looks like another address is refused with its reason",
    arguments: [
      ("\u{FF4D}ina@example.com", "another width"), ("o\u{FB03}ce@example.com", "another width"),
      ("mina@xn--a.example", "domain that there cannot be"),
      ("mina@evil\u{FF20}victim.com", "domain that there cannot be"),
      ("mina@victim.com\u{FF0C}x.de", "domain that there cannot be"),
      ("mina@\u{FF1C}b\u{FF1E}.de", "domain that there cannot be"),
      ("mina@a\u{2100}b.com", "domain that there cannot be"),
      ("mina@a\u{FF0F}b\u{FC}.com", "domain that there cannot be"),
      ("\u{FB01}n\u{E33}@example.com", "another width"), ("\u{2F00}@example.com", "another width"),
      ("mina@\u{FF0E}example.com", "must be an address"),
      ("mina@example.com\u{3002}", "must be an address"), ("mina@exa\u{200B}mple.com", "nobody sees"),
      ("mina\u{FF20}example.com", "must be an address"), ("mi na@example.com", "blank"),
    ])
  func refused(_ email: String, _ reason: String) async throws {
    let service = try await Service.shared()
    let account: JSON = ["name": "N", "email": .string(email), "password": "correct horse battery"]
    let answer = await service.call(.post, "/api/users", account)
    #expect(answer.status == 400 && answer.code == "invalid_field", "\(answer.text)")
    #expect(answer.json["detail"]?.string?.contains(reason) == true, "\(answer.text)")
  }

  @Test(
    "Letters that keyboards of Thai, Lao, Armenian and Korean type are taken",
    arguments: [
      "\u{E19}\u{E49}\u{E33}", "\u{E84}\u{EB3}", "\u{EDC}\u{EB6}\u{EC8}\u{E87}", "\u{561}\u{587}",
      "\u{314B}\u{314B}", "\u{E01}\u{E33}-ren\u{E9}",
    ])
  func typedSo(_ part: String) async throws {
    let service = try await Service.shared()
    let email = "\(part)@example.com", password = "correct horse battery"
    let made = await service.call(
      .post, "/api/users", ["name": "N", "email": .string(email), "password": .string(password)])
    #expect(made.status == 201, "\(made.text)")
    let session = await service.call(
      .post, "/api/sessions", ["email": .string(email), "password": .string(password)])
    #expect(session.status == 200, "\(session.text)")
  }

  @Test(
    "Who has an account under an address that is refused as a new one gets into it",
    arguments: [
      "\u{FF4D}ina.kept@example.com", "o\u{FB03}ce.kept@example.com", "mina.kept@xn--a.example",
      "mina.kept@evil\u{FF20}victim.com",
    ])
  func kept(_ email: String) async throws {
    let service = try await Service.shared()
    let password = "correct horse battery"
    let other = "kept-\(email.unicodeScalars.first?.value ?? 0)-\(email.utf8.count)@example.com"
    let made = await service.call(
      .post, "/api/users", ["name": "N", "email": .string(other), "password": .string(password)])
    #expect(made.status == 201, "\(made.text)")
    // As a version before kept it.
    _ = try await service.postgres.query("UPDATE users SET email = \(email) WHERE email = \(other)")
    let session = await service.call(
      .post, "/api/sessions", ["email": .string(email), "password": .string(password)])
    #expect(session.status == 200, "\(session.text)")
    #expect(try EmailAddress(email).spellings.contains(email))
    #expect(throws: EmailAddress.Refusal.self) { try EmailAddress(email, isNew: true) }
  }

  @Test(
    "A new password with a character that nobody sees is refused wherever one is chosen",
    arguments: [
      "\u{200B}", "\u{200C}", "\u{200D}", "\u{2060}", "\u{AD}", "\u{180E}", "\u{3164}", "\u{E0041}",
      "\u{FE0F}",
    ])
  func hidden(_ character: String) async throws {
    let service = try await Service.shared()
    let bad = "correct horse\(character)battery", good = "correct horse battery"
    let email = "hidden-\(character.unicodeScalars.first?.value ?? 0)@example.com"
    func refusal(_ answer: Service.Answer) {
      #expect(answer.status == 400 && answer.text.contains("nobody sees"), "\(answer.text)")
    }
    func account(_ password: String) -> JSON {
      ["name": "N", "email": .string(email), "password": .string(password)]
    }
    refusal(await service.call(.post, "/api/users", account(bad)))
    #expect(await service.call(.post, "/api/users", account(good)).status == 201)
    let session = await service.call(
      .post, "/api/sessions", ["email": .string(email), "password": .string(good)])
    let token = try #require(session.json["token"]?.string)
    refusal(
      await service.call(
        .post, "/api/me/password", ["current_password": .string(good), "password": .string(bad)],
        as: .token(token)))
  }

  @Test(
    "Emoji, joined ones and flags too, may be in a password, and blanks of all widths are one",
    arguments: [
      ("\u{1F469}\u{200D}\u{1F4BB} at work", "\u{1F469}\u{200D}\u{1F4BB} at work"),
      ("\u{2764}\u{FE0F}\u{200D}\u{1F525} burning", "\u{2764}\u{FE0F}\u{200D}\u{1F525} burning"),
      ("two\u{3000}wide words", "two wide\u{A0}words"), ("caf\u{E9} au lait", "cafe\u{301} au lait"),
    ])
  func seen(_ chosen: String, _ typed: String) throws {
    #expect(PasswordText.hidden(in: chosen) == nil)
    #expect(PasswordText.spelling(chosen).utf8.elementsEqual(PasswordText.spelling(typed).utf8))
  }
}
