import EventLoop
import HTTPServer
import JSON
import Sale

/// The stub's own form, in the part of Stripe.js that a page needs to make a confirmation token: card fields in a frame of
/// the stub's origin, so that no number reaches the page, and a token that pays once.
extension PaymentStub {
  /// Cards' numbers of Stripe's that do what a method does.
  private static let cards = [
    "4242424242424242": "pm_card_visa", "5555555555554444": "pm_card_mastercard",
    "4000000000003220": "pm_card_threeDSecure2Required", "4000000000000002": "pm_card_visa_chargeDeclined",
    "4000000000009995": "pm_card_visa_chargeDeclinedInsufficientFunds",
    "4000000000000069": "pm_card_chargeDeclinedExpiredCard",
    "4000000000000127": "pm_card_chargeDeclinedIncorrectCvc",
  ]
  /// Tokens that nobody has used; past it the oldest is forgotten.
  static let tokenLimit = 10_000

  func addForm(to router: inout Router) {
    for (path, type, text) in [
      ("/stub/stripe.js", "text/javascript; charset=utf-8", Self.library),
      ("/stub/form", "text/html; charset=utf-8", Self.frame),
      ("/stub/form.js", "text/javascript; charset=utf-8", Self.frameScript),
      ("/stub/form.css", "text/css; charset=utf-8", Self.frameStyle),
      ("/stub/bank.css", "text/css; charset=utf-8", Self.bankStyle),
    ] {
      let response = HTTPResponse(
        status: 200,
        headers: [
          ("Content-Type", type), ("Cache-Control", "no-cache"),
          (
            "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
          ),
          ("X-Content-Type-Options", "nosniff"),
        ], body: Array(text.utf8))
      router.on(.get, path, ignoresQuery: true) { _ in .now(response) }
    }
    router.on(.post, "/stub/confirmation_tokens") { [unowned self] request in
      do throws(StripeFailure) {
        return .now(.json(200, ["id": .string(try token(Form(request.body)))]))
      } catch { return .now(error.response) }
    }
  }

  private func token(_ form: Form) throws(StripeFailure) -> String {
    guard let key = form["key"], key.hasPrefix("pk_"), !key.hasPrefix("pk_live") else {
      throw StripeFailure(status: 401, type: "invalid_request_error", message: "Invalid API Key provided.")
    }
    let number = (form["number"] ?? "").filter { $0 != " " }
    guard CardNumber.isIn(number) else {
      throw .invalid("Your card number is invalid.", code: "incorrect_number", param: "number")
    }
    guard let method = Self.cards[number] else {
      throw .invalid("The stub knows test cards only.", code: "card_declined", param: "number")
    }
    guard (form["cvc"] ?? "").wholeMatch(of: /[0-9]{3,4}/) != nil else {
      throw .invalid("Your card's security code is incomplete.", code: "incomplete_cvc", param: "cvc")
    }
    guard (form["expiry"] ?? "").wholeMatch(of: /(0[1-9]|1[0-2]) ?\/ ?[0-9]{2}/) != nil else {
      throw .invalid("Your card's expiration date is incomplete.", code: "incomplete_expiry", param: "expiry")
    }
    let id = Self.id("ctoken_")
    if tokens.count >= Self.tokenLimit, let oldest = tokenOrder.first {
      tokenOrder.removeFirst()
      tokens[oldest] = nil
    }
    tokens[id] = method
    tokenOrder.append(id)
    return id
  }

  /// The method of a token, which pays this once.
  func spend(_ token: String) throws(StripeFailure) -> String {
    guard let method = tokens.removeValue(forKey: token) else {
      throw .missing("confirmation_token", token, param: "confirmation_token", status: 400)
    }
    tokenOrder.removeAll { $0 == token }
    return method
  }

  private static let library = """
    // The part of Stripe.js that a page needs for a confirmation token, on test cards.
    (() => {
      const { origin } = new URL(document.currentScript.src);

      function card(key) {
        const frame = document.createElement("iframe");
        frame.src = `${origin}/stub/form`;
        frame.title = "Card details";
        Object.assign(frame.style, { border: "0", width: "100%", height: "200px", display: "block" });
        const waiting = new Map(), listeners = { ready: [], change: [] };
        let last = 0;
        addEventListener("message", ({ source, origin: from, data }) => {
          if (source !== frame.contentWindow || from !== origin || !data?.form) return;
          if (data.height) frame.style.height = `${data.height}px`;
          if (data.event) listeners[data.event]?.forEach((each) => each(data));
          waiting.get(data.answer)?.(data);
          waiting.delete(data.answer);
        });
        let appearance;
        const look = (how) => {
          appearance = how ?? appearance;
          frame.contentWindow?.postMessage({ form: true, appearance }, origin);
        };
        listeners.ready.push(() => look());
        const ask = (question) => new Promise((resolve) => {
          last += 1;
          waiting.set(last, resolve);
          frame.contentWindow.postMessage({ form: true, question, id: last, key }, origin);
        });
        return { frame, ask, listeners, look };
      }

      window.Stripe = (key) => ({
        elements({ captureMethod, appearance }) {
          if (captureMethod !== "manual") throw new Error("Onsale reserves money, and takes it later");
          const own = card(key);
          own.look(appearance);
          return {
            own,
            create: () => ({
              mount: (node) => node.append(own.frame),
              on: (event, listener) => own.listeners[event]?.push(listener),
              destroy: () => own.frame.remove(),
            }),
            update: (options) => own.look(options.appearance),
            submit: async () => ({ error: (await own.ask("check")).error }),
          };
        },
        async createConfirmationToken({ elements }) {
          const { error, token } = await elements.own.ask("token");
          return error ? { error } : { confirmationToken: { id: token } };
        },
      });
    })();
    """

  private static let frame = """
    <!doctype html><html lang="en"><head><meta charset="utf-8"><title>Card details</title>
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <link rel="stylesheet" href="/stub/form.css"><script src="/stub/form.js" defer></script></head>
    <body><form>
    <label>Card number <input id="number" inputmode="numeric" autocomplete="cc-number" placeholder="4242 4242 4242 4242"></label>
    <div><label>Expiry <input id="expiry" inputmode="numeric" autocomplete="cc-exp" placeholder="MM / YY"></label>
    <label>Security code <input id="cvc" inputmode="numeric" autocomplete="cc-csc" placeholder="123"></label></div>
    <p id="problem" role="alert"></p>
    <p>Test cards only, such as 4242 4242 4242 4242. No real money moves.</p>
    </form></body></html>
    """

  private static let frameStyle = """
    /* Stripe's form is light, whatever the device says, unless its page wants another appearance. */
    :root { color-scheme: light; --text: #30313d; --back: #fff; --danger: #c22; --primary: #0570de; --round: 8px; }
    :root[data-theme=night] { color-scheme: dark; --text: #fff; --back: #30313d; --danger: #fe87a1; }
    body { margin: 0; font: 16px/1.4 system-ui, sans-serif; color: var(--text); }
    form { display: grid; gap: 12px; padding: 2px; }
    form > div { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }
    label { display: grid; gap: 4px; font-size: 14px; }
    input { font: inherit; font-size: 16px; padding: 10px; border: 1px solid #8889; border-radius: var(--round); min-width: 0;
      box-sizing: border-box; width: 100%; color: var(--text); background: var(--back); }
    input:focus-visible { outline: 2px solid var(--primary); }
    input[aria-invalid=true] { border-color: var(--danger); color: var(--danger); }
    p { margin: 0; font-size: 14px; opacity: .75; }
    #problem { color: var(--danger); opacity: 1; }
    #problem:empty { display: none; }
    """

  private static let bankStyle = """
    body { margin: 0; font: 17px/1.5 system-ui, sans-serif; }
    main { max-width: 24rem; margin: 12vh auto; padding: 24px; display: grid; gap: 12px; }
    h1, p, form { margin: 0; }
    button { font: inherit; width: 100%; min-height: 48px; }
    """

  private static let frameScript = """
    const field = (name) => document.getElementById(name);
    const names = ["number", "expiry", "cvc"];
    const problem = field("problem");

    function show(error) {
      problem.textContent = error?.message ?? "";
      for (const name of names) field(name).setAttribute("aria-invalid", String(error?.param === name));
    }

    function dress({ theme, variables = {} }) {
      const root = document.documentElement;
      root.dataset.theme = theme ?? "stripe";
      const own = { colorText: "--text", colorBackground: "--back", colorDanger: "--danger", colorPrimary: "--primary",
        borderRadius: "--round" };
      for (const [name, property] of Object.entries(own)) {
        if (variables[name]) root.style.setProperty(property, variables[name]);
      }
    }

    const tell = (window, origin, message) => window.postMessage({ form: true, ...message }, origin);

    async function token(key) {
      const body = new URLSearchParams({ key, ...Object.fromEntries(names.map((name) => [name, field(name).value])) });
      const answer = await fetch("/stub/confirmation_tokens", { method: "POST", body });
      const json = await answer.json();
      return answer.ok ? { token: json.id } : { error: json.error };
    }

    function check() {
      const empty = names.find((name) => field(name).value.trim() === "");
      return empty ? { error: { type: "validation_error", param: empty, message: "Your card's details are incomplete." } } : {};
    }

    addEventListener("message", async ({ source, origin, data }) => {
      if (source !== parent || !data?.form) return;
      if (data.appearance) return dress(data.appearance);
      if (!data.question) return;
      let answer;
      try { answer = data.question === "token" ? await token(data.key) : check(); } catch {
        answer = { error: { type: "api_connection_error", message: "The payment provider cannot be reached." } };
      }
      show(answer.error);
      tell(source, origin, { answer: data.id, height: document.body.offsetHeight, ...answer });
    });
    document.querySelector("form").addEventListener("input", () => tell(parent, "*", { event: "change" }));
    document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    field("number").addEventListener("input", ({ target }) => {
      const digits = target.value.replace(/\\D/g, "").slice(0, 19);
      target.value = digits.replace(/(.{4})(?=.)/g, "$1 ");
    });
    field("expiry").addEventListener("input", ({ target, inputType }) => {
      const digits = target.value.replace(/\\D/g, "").slice(0, 4);
      target.value = digits.length > 2 || (digits.length === 2 && !inputType?.startsWith("delete"))
        ? `${digits.slice(0, 2)} / ${digits.slice(2)}` : digits;
    });
    // Nothing that is anybody's: only that it is there, and how high.
    tell(parent, "*", { event: "ready", height: document.body.offsetHeight });
    """
}
