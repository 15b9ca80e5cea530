// The payment provider's own form. What is typed into it goes to the provider, and never comes here: what comes is a token
// that pays once.

import { currencyDigits, providerDigits } from "./currencies.js";
import { h } from "./dom.js";

const { paymentScript, paymentKey, paymentCards } = document.documentElement.dataset;

/** Whether there is one; else test cards, with the stub, or nothing that anybody could pay with. */
export const hasForm = Boolean(paymentScript);
export const hasTestCards = paymentCards === "test";

/** Milliseconds after which the provider's script is not coming any more. */
const patience = 20_000;

let loading;

/** The provider's script, once; after a failure it is tried again when it is needed again. */
function provider() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const fail = () => {
      loading = undefined;
      script.remove();
      reject(new Error("The payment form could not be loaded."));
    };
    const timer = setTimeout(fail, patience);
    script.src = paymentScript;
    script.onload = () => {
      clearTimeout(timer);
      // What came may be something else, as from a blocker; or it does not like the key, or this page.
      try {
        resolve(window.Stripe(paymentKey));
      } catch {
        fail();
      }
    };
    script.onerror = () => {
      clearTimeout(timer);
      fail();
    };
    document.head.append(script);
  });
  return loading;
}

/** An amount of ours in the provider's units. */
function providerAmount(amount, currency) {
  const own = currencyDigits[currency] ?? 2;
  return Math.round(amount * 10 ** ((providerDigits[currency] ?? own) - own));
}

const dark = matchMedia("(prefers-color-scheme: dark)");

/** The form stands in a frame of its own, which knows nothing of this page's colours. */
function appearance() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  return { theme: dark.matches ? "night" : "stripe", variables: {
    colorPrimary: color("--brand"), colorBackground: color("--card"), colorText: color("--ink"),
    colorDanger: color("--bad"), borderRadius: color("--round-small"),
  } };
}

export class PaymentForm {
  /** @param onChange called when something else is typed into it */
  constructor(signal, onChange) {
    this.signal = signal;
    this.onChange = onChange;
    this.place = h("div", { class: "payment-form" });
    this.wait = h("p", { class: "quiet", role: "status" }, "Loading the payment form…");
    this.node = h("div", null, this.wait, this.place);
    signal.addEventListener("abort", () => this.element?.destroy());
    dark.addEventListener("change", () => this.elements?.update({ appearance: appearance() }), { signal });
  }

  /** Shows the form for that much, or tells it that it is another amount by now. */
  async show(amount, currency) {
    const wanted = { amount: providerAmount(amount, currency), currency: currency.toLowerCase() };
    if (amount === 0 || (this.wanted?.amount === wanted.amount && this.wanted.currency === wanted.currency)) return;
    this.wanted = wanted;
    if (this.elements) this.elements.update(wanted);
    if (this.elements || this.isLoading) return;
    this.isLoading = true;
    try {
      const stripe = await provider();
      if (this.signal.aborted) return;
      // Only what reserves money first: it is taken when the tickets are sold.
      const elements = stripe.elements({ mode: "payment", captureMethod: "manual", paymentMethodTypes: ["card"],
        appearance: appearance(), locale: document.documentElement.lang, ...this.wanted });
      const element = elements.create("payment");
      element.on("ready", () => this.wait.remove());
      element.on("change", () => this.onChange());
      element.on("loaderror", () => this.fail("The payment form could not be loaded."));
      element.mount(this.place);
      Object.assign(this, { stripe, elements, element });
    } catch (error) {
      this.wanted = undefined;
      this.fail(error.message);
    } finally {
      this.isLoading = false;
    }
  }

  fail(why) {
    this.wait.textContent = `${why} Load this page again; your seats stay held until the time is up.`;
    this.place.before(this.wait);
  }

  /**
   * What pays, for the server to use once the seats are claimed. The form itself says what is wrong with what was typed.
   * @returns `{ token }`, or `{ problem }` in words.
   */
  async token() {
    if (!this.elements) return { problem: "The payment form is not there yet." };
    const checked = await this.elements.submit();
    if (checked.error) return { problem: checked.error.message };
    const { error, confirmationToken } = await this.stripe.createConfirmationToken({
      elements: this.elements, params: { return_url: `${location.origin}/queue/return` },
    });
    return error ? { problem: error.message } : { token: confirmationToken.id };
  }
}
