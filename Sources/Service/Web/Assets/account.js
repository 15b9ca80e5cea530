// Registering, signing in and out.

import { call, Problem, waitAfter } from "./api.js";
import { pause } from "./clock.js";
import { announce, h, icon, put } from "./dom.js";
import { field, formMessage, whileBusy } from "./form.js";
import { begin, end, keptWish, session } from "./session.js";

const shortestPassword = 8;
/** Whether the server sends mail. */
const sendsMail = "mail" in document.documentElement.dataset;
/** Milliseconds for which signing in is tried while the server has too much to do. */
const patience = 300_000;

/** Where to go after signing in: only ever a path of this page. */
function destination(context) {
  const next = context.next ?? context.query.get("next") ?? "/";
  return next.startsWith("/") && !next.startsWith("//") ? next : "/";
}

/** Where an event is at which something was chosen without an account. */
function wishPath() {
  const wish = keptWish();
  return wish && `/event/${encodeURIComponent(wish.event_id)}`;
}

/** Views that do not ask whether somebody is signed in: who comes by a link from a mail, comes for what it says. */
const modes = { forgot: forgotView, confirm: linkView, password: linkView };

export function accountView(context) {
  const mode = modes[context.query.get("mode")];
  if (mode) return mode(context);
  return session() ? signedIn(context) : signedOut(context);
}

function signedIn(context) {
  const { email, name } = session();
  const message = formMessage();
  async function leave() {
    await call("DELETE", "/api/sessions");
    end();
    context.go("/account");
    announce("Signed out.");
  }
  const leaving = h("button", { class: "button", type: "button", onclick: () => {
    whileBusy(leaving, "Signing out…", leave).catch((error) => {
      if (!(error instanceof Problem)) throw error;
      message.show(error.message);
    });
  } }, "Sign out");
  return {
    title: "Account",
    node: h("section", { class: "narrow" },
      h("h1", { tabindex: "-1" }, "Account"),
      h("dl", { class: "facts" },
        name && [h("dt", null, "Name"), h("dd", null, name)],
        email && [h("dt", null, "Email"), h("dd", null, email)]),
      h("p", { class: "quiet" },
        "Signing out forgets your places in line on this device. They stay yours: sign in again and ask for ",
        "the same event, and you get the same place."),
      message.node,
      h("div", { class: "actions" },
        leaving, h("a", { class: "button quiet-button", href: "/tickets" }, "My tickets"))),
  };
}

function signedOut(context) {
  const isNew = context.query.get("mode") === "register";
  const next = destination(context);
  const reason = next === wishPath() ? `${isNew ? "Create an account" : "Sign in"} to get tickets for ${keptWish().name}. What you chose is kept.`
    : "Sign in to go on.";
  const other = new URLSearchParams(isNew ? {} : { mode: "register" });
  if (next !== "/") other.set("next", next);
  const name = isNew && field("Name", { name: "name", autocomplete: "name", maxlength: 200 });
  const email = field("Email", { name: "email", type: "email", autocomplete: isNew ? "email" : "username",
    inputmode: "email", autocapitalize: "none", spellcheck: "false", maxlength: 320 });
  const password = field("Password",
    { name: "password", type: "password", maxlength: 200,
      autocomplete: isNew ? "new-password" : "current-password" },
    { hint: isNew && `At least ${shortestPassword} characters.` });
  const fields = [name, email, password].filter(Boolean);
  const message = formMessage();
  const mailed = notice();
  const submit = h("button", { class: "button primary wide" }, isNew ? "Create account" : "Sign in");

  function check() {
    for (const each of fields) each.clear();
    message.clear();
    if (name && !name.input.value.trim()) name.fail("Enter your name.");
    if (!/^\S+@\S+$/.test(email.input.value.trim())) {
      email.fail("Enter an email address, like name@example.com.");
    }
    if (!password.input.value) password.fail("Enter your password.");
    else if (isNew && new TextEncoder().encode(password.input.value).length < shortestPassword) {
      password.fail(`Use at least ${shortestPassword} characters.`);
    }
    const wrong = fields.find((each) => each.input.getAttribute("aria-invalid"));
    wrong?.input.focus();
    return !wrong;
  }

  async function send() {
    const credentials = { email: email.input.value.trim(), password: password.input.value };
    if (isNew) {
      const made = await patiently("/api/users", { name: name.input.value.trim(), ...credentials }, message);
      // Whether there is such an account already, only who reads its mail is told.
      if (made.state === "mailed") {
        mailed.show(`We have sent a mail to ${credentials.email}. Open the link in it to go on.`);
        return;
      }
    }
    const answer = await patiently("/api/sessions", { ...credentials, cookies: true }, message);
    begin(answer, { email: credentials.email, name: name ? name.input.value.trim() : undefined });
    context.go(next, { replace: true });
    announce("Signed in.");
  }

  function explain(error) {
    if (!(error instanceof Problem)) throw error;
    if (error.code === "email_taken" || error.status === 409) {
      email.fail("There is an account with this email already. Sign in instead.");
      email.input.focus();
    } else if (error.status === 401) {
      password.fail("Email and password do not match. Check both and try again.");
      password.input.select();
      password.input.focus();
    } else if (error.status === 400 && /password/i.test(error.message)) {
      password.fail(error.message);
      password.input.focus();
    } else if (error.status === 400 && /email/i.test(error.message)) {
      email.fail(error.message);
      email.input.focus();
    } else message.show(error.message);
  }

  const form = h("form", { class: "stack", novalidate: true, onsubmit: (event) => {
    event.preventDefault();
    if (submit.getAttribute("aria-disabled") === "true" || !check()) return;
    whileBusy(submit, isNew ? "Creating your account…" : "Signing in…", send).catch(explain);
  } }, message.node, mailed.node, fields.map((each) => each.node), submit,
  !isNew && sendsMail && h("p", { class: "quiet" }, h("a", { href: "/account?mode=forgot" }, "Forgot your password?")));

  return {
    title: isNew ? "Create account" : "Sign in",
    node: h("div", { class: "welcome" },
      h("section", { class: "welcome-pitch", "aria-label": "How it works" },
        h("p", { class: "display" }, "Your place in line is ", h("em", null, "yours.")),
        h("ol", { class: "steps" },
          step("people", "First come, first served",
            "Ask once. Your place is kept through reloads and closed laptops."),
          step("clock", "Seats held while you pay",
            "When it is your turn the seats are locked for you. Nobody else can take them."),
          step("card", "Charged once",
            "You pay exactly the price you saw, and only when the seats are yours."))),
      h("section", { class: "panel welcome-form" },
        h("h1", { tabindex: "-1" }, isNew ? "Create account" : "Sign in"),
        next !== "/" && h("p", { class: "quiet" }, reason),
        form,
        h("p", { class: "quiet" }, isNew ? "You have an account? " : "New here? ",
          h("a", { href: `/account${other.size ? `?${other}` : ""}` },
            isNew ? "Sign in" : "Create an account")))),
  };
}

/** Calls where passwords are hashed; where many do so at the same time, keeps asking for a while, and says so. */
async function patiently(path, body, message) {
  const until = Date.now() + patience;
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call("POST", path, { body });
    } catch (error) {
      const isCrowd = error instanceof Problem && (error.status === 503
        || (error.status === 429 && error.code !== "too_many_attempts" && (error.retryAfter ?? 0) <= 10));
      if (!isCrowd || Date.now() > until) throw error;
      message.show("Many people are signing in just now. Keep this page open: it goes on trying.");
      await pause(waitAfter(error, attempt));
    }
  }
}

/** Good news in a form, read out when it comes. */
function notice() {
  const node = h("p", { class: "notice", role: "status", hidden: true });
  return {
    node,
    show(text) {
      node.hidden = false;
      put(node, text);
    },
  };
}

/** Asks for a link with which a new password is chosen. */
function forgotView() {
  const email = field("Email", { name: "email", type: "email", autocomplete: "username", inputmode: "email",
    autocapitalize: "none", spellcheck: "false", maxlength: 320 });
  const message = formMessage(), mailed = notice();
  const submit = h("button", { class: "button primary wide" }, "Send the link");
  async function send() {
    const address = email.input.value.trim();
    await patiently("/api/password/reset", { email: address }, message);
    message.clear();
    mailed.show(`If ${address} has an account, a mail is on its way. The link in it is good for 30 minutes.`);
  }
  const form = h("form", { class: "stack", novalidate: true, onsubmit: (event) => {
    event.preventDefault();
    email.clear();
    message.clear();
    if (!/^\S+@\S+$/.test(email.input.value.trim())) {
      email.fail("Enter an email address, like name@example.com.");
      email.input.focus();
      return;
    }
    whileBusy(submit, "Sending…", send).catch((error) => {
      if (!(error instanceof Problem)) throw error;
      message.show(error.message);
    });
  } }, message.node, mailed.node, email.node, submit);
  return {
    title: "Forgot your password?",
    node: h("section", { class: "narrow panel" },
      h("h1", { tabindex: "-1" }, "Forgot your password?"),
      h("p", { class: "quiet" }, "We send you a link with which you choose a new one."),
      form, h("p", { class: "quiet" }, h("a", { href: "/account" }, "Back to signing in"))),
  };
}

/** What stood behind `#` in the link of a mail: taken out of the address, so that it is in no history. */
let linkToken = "";

/** Confirms an address, or sets a new password, by the link of a mail. */
function linkView(context) {
  const isNew = context.query.get("mode") === "confirm";
  if (location.hash.length > 1) {
    linkToken = location.hash.slice(1);
    history.replaceState(history.state, "", location.pathname + location.search);
  }
  const password = field(isNew ? "Password" : "New password",
    { name: "password", type: "password", maxlength: 200, autocomplete: isNew ? "current-password" : "new-password" },
    { hint: isNew ? "The one that you chose when you created the account."
      : `At least ${shortestPassword} characters.` });
  const message = formMessage();
  const submit = h("button", { class: "button primary wide" }, isNew ? "Confirm the address" : "Set the password");
  const again = h("p", { class: "quiet" }, isNew
    ? h("a", { href: "/account?mode=register" }, "Create the account again")
    : h("a", { href: "/account?mode=forgot" }, "Ask for a new link"));
  async function send() {
    const body = { token: linkToken, password: password.input.value, cookies: true };
    const answer = await patiently(isNew ? "/api/users/confirm" : "/api/password", body, message);
    linkToken = "";
    begin(answer, {});
    context.go(wishPath() ?? "/", { replace: true });
    announce(isNew ? "Your address is confirmed. Signed in." : "Your password is set. Signed in.");
  }
  function explain(error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status === 403 || (error.status === 400 && /password/i.test(error.message))) {
      password.fail(error.message);
      password.input.focus();
    } else message.show(error.message);
  }
  const form = h("form", { class: "stack", novalidate: true, onsubmit: (event) => {
    event.preventDefault();
    password.clear();
    message.clear();
    if (!linkToken) return message.show("The link is not whole. Open it from the mail once more.");
    if (new TextEncoder().encode(password.input.value).length < shortestPassword) {
      password.fail(`Use at least ${shortestPassword} characters.`);
      password.input.focus();
      return;
    }
    whileBusy(submit, "One moment…", send).catch(explain);
  } }, message.node, password.node, submit);
  const title = isNew ? "Confirm your address" : "Choose a new password";
  return {
    title,
    node: h("section", { class: "narrow panel" },
      h("h1", { tabindex: "-1" }, title),
      !isNew && h("p", { class: "quiet" }, "It signs the account out everywhere else."),
      form, again),
  };
}

function step(name, title, text) {
  return h("li", null, icon(name), h("div", null, h("strong", null, title), h("p", null, text)));
}
