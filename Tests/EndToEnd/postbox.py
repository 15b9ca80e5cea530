"""A mail server that keeps what it is given, and refuses what it is told to: aiosmtpd, which is not ours."""

import email
import email.policy
import re
import ssl
import subprocess

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from stack import free_port, until


class Postbox:
    def __init__(self, host="127.0.0.1", port=None, users=None, certificate=None, starttls=True, utf8=True):
        self.host = host
        self.port = port or free_port()
        self.users = users or {}
        # What came, in order: sender, recipients and the message's bytes.
        self.envelopes = []
        self.sessions = []
        # Answers to RCPT and to DATA, used up one by one.
        self.refusals = []
        self.data_refusals = []
        self.logins = []
        self.starttls = starttls
        self.utf8 = utf8
        self.context = None
        if certificate:
            self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.context.load_cert_chain(*certificate)
        self.controller = None

    def start(self):
        box = self

        class Listening(Controller):
            def factory(self):
                return SMTP(
                    self.handler, enable_SMTPUTF8=box.utf8, tls_context=box.context if box.starttls else None,
                    authenticator=box.authenticate if box.users else None, auth_require_tls=False,
                    auth_required=bool(box.users),
                )  # fmt: skip

        self.controller = Listening(self, hostname=self.host, port=self.port)
        self.controller.start()
        return self

    def stop(self):
        if self.controller:
            self.controller.stop()
            self.controller = None

    def authenticate(self, server, session, envelope, mechanism, data):
        login, password = data.login.decode(), data.password.decode()
        self.logins.append((login, session.ssl is not None))
        return AuthResult(success=self.users.get(login) == password, handled=False)

    async def handle_EHLO(self, server, session, envelope, hostname, responses):  # noqa: N802
        session.host_name = hostname
        self.sessions.append(hostname)
        return responses

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if self.refusals:
            return self.refusals.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        if self.data_refusals:
            return self.data_refusals.pop(0)
        self.envelopes.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content))
        return "250 OK"

    # --- What came ---

    def mails(self, address):
        return [
            email.message_from_bytes(content, policy=email.policy.default)
            for _, recipients, content in list(self.envelopes)
            if address in recipients
        ]

    def await_mail(self, address, number=1, seconds=30):
        """The mail of that number that came for an address."""
        until(lambda: len(self.mails(address)) >= number, seconds, f"mail {number} for {address}")
        return self.mails(address)[number - 1]


def link(mail):
    """The link with a token in it, and the token."""
    text = mail.get_content().replace("\r\n", "\n")
    found = re.search(r"^(http\S+)#([A-Za-z0-9_-]{43})$", text, re.MULTILINE)
    assert found, text
    return found[0], found[2]


def certificate(directory, name):
    """A certificate of nobody that is known."""
    key, cert = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key
