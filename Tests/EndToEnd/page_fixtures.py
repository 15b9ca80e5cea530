"""A browser in front of the stack. Whatever the page complains about in its console fails the test."""

import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from playwright.sync_api import sync_playwright

from client import Client, ok
from stack import ROOT

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}

# Answers that a test provokes show up as console errors too; they are the browser's notes, not the page's.
PROVOKED = "Failed to load resource"


# The page's files from the source instead of the binary, to try changes without building: ONSALE_ASSETS=1.
ASSETS = os.environ.get("ONSALE_ASSETS") and ROOT / "Sources/Service/Web/Assets"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def _from_source(route):
    name = route.request.url.rsplit("/", 1)[-1]
    if name == "bundle.js":
        # What the server puts into one file, the browser then gets one by one.
        return route.fulfill(body='import "./app.js";', content_type=TYPES[".js"])
    if name == "currencies.js":
        bundle = route.fetch(url=route.request.url.replace(name, "bundle.js")).text()
        tables = re.findall(r"const (?:currency|provider)Digits = \{.*?\};", bundle, re.DOTALL)
        return route.fulfill(body="\n".join(f"export {table}" for table in tables), content_type=TYPES[".js"])
    file = ASSETS / name
    route.fulfill(body=file.read_bytes(), content_type=TYPES[file.suffix])


@pytest.fixture(scope="session")
def chromium():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or pytest.skip("there is no chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def site(stack):
    """The address of a running Onsale: the test's own stack, or the one that ONSALE_URL names."""
    return stack.url


class Visitor:
    """One person with a browser of their own."""

    def __init__(self, browser, site, complaints, **options):
        self.site = site
        self.complaints = complaints
        self.context = browser.new_context(
            **{"viewport": DESKTOP, "locale": "en-GB", "timezone_id": "Europe/Berlin", **options}
        )
        self.context.set_default_timeout(15_000)
        if ASSETS:
            self.context.route(re.compile(r"/assets/\w+/[\w.]+$"), _from_source)
        self.page = self.open_tab()

    def open_tab(self):
        page = self.context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        # Policy violations are reported to the document, also where the console says nothing.
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            "(e) => console.error('policy: ' + e.violatedDirective + ' ' + e.blockedURI))"
        )
        return page

    def _heard(self, message):
        if message.type in ("error", "warning") and PROVOKED not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")

    def register(self, name="Ada Lovelace"):
        """Signs up as somebody new, by the API, and gives the browser the session."""
        email = f"{os.urandom(6).hex()}@example.com"
        anyone = Client(self.site)
        ok(anyone.post("/api/users", {"name": name, "email": email, "password": "correct horse"}), 201)
        session = ok(anyone.post("/api/sessions", {"email": email, "password": "correct horse"}))
        self.token = session["token"]
        self.client = Client(self.site, session["token"], session["user_id"])
        self.page.goto(f"{self.site}/account")
        self.page.evaluate(
            """async ({ email, password, name }) => {
              const answer = await (await fetch("/api/sessions", {
                method: "POST", headers: { "Content-Type": "application/json" },
                body: JSON.stringify({ email, password, cookies: true }) })).json();
              const at = (seconds) => Date.now() + seconds * 1_000;
              localStorage.setItem("onsale.session", JSON.stringify({ user_id: answer.user_id, email, name,
                until: at(answer.session_expires_in_seconds), renewAt: at(answer.refresh_in_seconds) }));
            }""",
            {"email": email, "password": "correct horse", "name": name},
        )
        return self

    def goto(self, path):
        self.page.goto(self.site + path)
        return self.page


@pytest.fixture
def visit(chromium, site):
    """Makes visitors, and fails the test if any of their pages complained."""
    visitors, complaints = [], []

    def new(**options):
        visitor = Visitor(chromium, site, complaints, **options)
        visitors.append(visitor)
        return visitor

    yield new
    for visitor in visitors:
        # What is under way in a handler must not be an error of the test after this one.
        visitor.page.unroute_all(behavior="ignoreErrors")
        visitor.context.close()
    assert not complaints, complaints


@pytest.fixture
def hall(organizer):
    """An event with two sections of numbered seats, 60 and 40."""

    def make(**fields):
        sections = [
            {"name": "Stalls", "price": 8000, "rows": [{"row": row, "seats": 15} for row in "ABCD"]},
            {"name": "Circle", "price": 5500, "rows": [{"row": row, "seats": 10} for row in "ABCD"]},
        ]
        event = organizer.create_event(sections, currency="EUR", **fields)
        return SimpleNamespace(id=event, path=f"/event/{event}")

    return make


@pytest.fixture
def pictures(request):
    """Keeps pictures where PICTURES says, for people to look at."""
    directory = os.environ.get("PICTURES")

    def take(page, name):
        if directory:
            Path(directory).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(directory) / f"{request.node.name}-{name}.png", full_page=True)

    return take
