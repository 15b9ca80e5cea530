/// What is written to people. Nothing in it is what somebody else typed: no name, which could say anything to anybody
/// whose address they know.
struct Letter: Equatable {
  let subject: String
  let text: String

  /// - Parameters:
  ///   - site: the public address, without a slash at its end.
  ///   - token: behind `#`, where no server and no other site gets to see it.
  static func confirmation(_ site: String, token: String) -> Letter {
    Letter(
      subject: "Confirm your address",
      text: """
        Somebody, most likely you, wants an account at \(site) with this address.

        To confirm that it is yours, open this link within 24 hours, and enter the password that you chose:

        \(site)/account?mode=confirm#\(token)

        If it was not you, do nothing: without the link and the password there is no account.

        """)
  }

  static func known(_ site: String) -> Letter {
    Letter(
      subject: "You have an account already",
      text: """
        Somebody, most likely you, wants an account at \(site) with this address. There is one already, and nothing was
        changed.

        Sign in: \(site)/account
        If you do not know the password any more: \(site)/account?mode=forgot

        If it was not you, do nothing.

        """)
  }

  static func reset(_ site: String, token: String) -> Letter {
    Letter(
      subject: "Choose a new password",
      text: """
        Somebody, most likely you, does not know the password of the account at \(site) with this address any more.

        To choose a new one, open this link within 30 minutes:

        \(site)/account?mode=password#\(token)

        It works once, and signs the account out everywhere. If it was not you, do nothing: the password stays as it is.

        """)
  }
}
