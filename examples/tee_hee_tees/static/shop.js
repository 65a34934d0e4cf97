// The shop's script. Asking for the step-up is left to stepup.js; the rest of it is this demo's own:
// it shows what was said on the wire, and puts the demo inbox where the code is asked for.

// The receipt shows what was said in the cart; other pages show what was said on them.
const { here } = document.body.dataset;
const TRACE = `tee-hee-tees.trace.${here === "orders" ? "cart" : here}`;
const SIGN_IN_AGAIN = ["unauthenticated", "invalid_token", "refresh_token_required"];
const NO_CONNECTION = "The shop cannot be reached. Check your connection and try again.";
const $ = (selector, root = document) => root.querySelector(selector);

document.documentElement.classList.add("js");

// -- What was said, kept for the "Behind the counter" panel ----------------------------------

const conversation = () => JSON.parse(sessionStorage.getItem(TRACE) ?? "[]");

const wordForWord = ({ status, challenge, reply }) =>
  [`HTTP/1.1 ${status}`, challenge && `WWW-Authenticate: ${challenge}`, "", JSON.stringify(reply, null, 2)]
    .filter((line) => line !== null)
    .join("\n");

function showConversation() {
  const list = $("[data-trace]");
  if (!list) return;
  const entries = conversation();
  $("[data-trace-empty]").hidden = entries.length > 0;
  list.replaceChildren(
    ...entries.map((entry) => {
      const item = document.createElement("li");
      const details = document.createElement("details");
      const summary = document.createElement("summary");
      const request = document.createElement("code");
      const status = document.createElement("span");
      const pre = document.createElement("pre");
      request.textContent = entry.request;
      status.textContent = entry.status;
      status.className = `badge ${entry.status < "4" ? "yes" : "no"}`;
      pre.textContent = wordForWord(entry);
      pre.tabIndex = 0;
      summary.append(request, status);
      details.append(summary, pre);
      details.open = entry.challenge !== null;
      item.append(details);
      return item;
    }),
  );
}

/** `fetch`, noted down. Cookies carry the tokens, so there is none in what is said. */
async function noted(input, init) {
  const response = await fetch(input, init);
  const { pathname } = new URL(input, location);
  const reply = await response.clone().json().catch(() => ({}));
  const entry = {
    request: `${init?.method ?? "GET"} ${pathname}`,
    status: `${response.status} ${response.statusText}`.trim(),
    challenge: response.headers.get("WWW-Authenticate"),
    reply,
  };
  sessionStorage.setItem(TRACE, JSON.stringify([...conversation(), entry]));
  showConversation();
  if (SIGN_IN_AGAIN.includes(reply.code)) {
    location.assign(`/sign-in?next=${here}`);
    await new Promise(() => {}); // the page is on its way out
  }
  if (pathname.endsWith("/start")) refreshInbox();
  return response;
}

// -- The demo inbox; there is none on real Descope ------------------------------------------

// XMLHttpRequest parses without a string of HTML in between, which the page's policy forbids.
const fragment = (url) =>
  new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", url);
    request.responseType = "document";
    request.onload = () => resolve(request.response);
    request.onerror = reject;
    request.send();
  });

async function refreshInbox() {
  const boxes = document.querySelectorAll("[data-inbox]");
  const fresh = boxes.length && (await fragment("/inbox").catch(() => null));
  if (!fresh) return;
  for (const box of boxes) box.replaceChildren(...document.importNode(fresh.body, true).childNodes);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-use-code]");
  const field =
    $("descope-wc")?.shadowRoot?.querySelector("[name=code]") ??
    $("step-up-dialog")?.shadowRoot?.querySelector("input") ??
    $("input.code");
  if (!button || !field) return;
  field.value = button.dataset.useCode;
  field.focus();
});

// -- The profile's ways to confirm ----------------------------------------------------------

async function showWays() {
  const { methods } = await (await fetch("/step-up/status")).json();
  const named = methods.map(({ method, destination }) => (destination ? `${method} (${destination})` : method));
  $("[data-ways-list]").textContent = named.join(", ") || "no way yet";
  $("[data-ways]").hidden = false;
}
if ($("[data-ways]")) showWays().catch(() => {}); // the page is good without

// -- What needs a step-up -------------------------------------------------------------------

const script = $("script[data-step-up]");
if (script) {
  // The very module that the page's tag loaded, with its integrity checked.
  const { StepUpCancelled, StepUpDialog, StepUpFailed, withStepUp } = await import(script.src);

  const flow = JSON.parse($("[data-flow]")?.dataset.flow ?? "null");

  /** The default dialog, with the demo's own things in it. */
  const prompt = async (steps, ...others) => {
    const beside = $("[data-beside]");
    const { status, statusText, headers } = steps.challenge.response;
    $("[data-challenge]").textContent = wordForWord({
      status: `${status} ${statusText}`.trim(),
      challenge: headers.get("WWW-Authenticate"),
      reply: steps.challenge.problem,
    });
    refreshInbox();
    beside.hidden = false;
    // Descope's component does not say when it has a code sent.
    const looking = flow && setInterval(refreshInbox, 1000);
    return StepUpDialog.prompt(steps, ...others).finally(() => {
      clearInterval(looking);
      beside.hidden = true;
    });
  };

  class Refused extends Error {}

  // With the switch on, the dialog runs Descope's flow, whose session the shop puts into a cookie.
  const keep = async (sessionToken) => {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify({ session_token: sessionToken });
    const response = await fetch("/flow/session", { method: "POST", headers, body });
    if (!response.ok) throw new Refused("The shop did not take the session of the flow.");
  };
  const onTokens = ({ sessionToken }) => keep(sessionToken);

  const stepUpFetch = withStepUp(noted, flow ? { prompt, onTokens, ...flow } : { prompt });

  /** Post, and return the reply; raise what the shop says against it. */
  const post = async (path, members) => {
    const headers = { Accept: "application/json", ...(members && { "Content-Type": "application/json" }) };
    const response = await stepUpFetch(path, { method: "POST", headers, body: members && JSON.stringify(members) });
    const reply = await response.json();
    if (!response.ok) throw new Refused(reply.detail ?? "That did not work. Please try again.");
    return reply;
  };

  const inWords = (error, cancelled) => {
    if (error instanceof StepUpCancelled) return cancelled;
    if (error instanceof StepUpFailed) return error.problem?.detail ?? `You could not confirm that it is you. ${cancelled}`;
    return error instanceof Refused ? error.message : NO_CONNECTION;
  };

  /** Do what a button is for, and say how it went. */
  const work = async (button, cancelled, action) => {
    const status = $("[data-status]");
    button.disabled = true;
    button.ariaBusy = "true";
    status.textContent = "";
    sessionStorage.removeItem(TRACE);
    try {
      status.textContent = await action();
    } catch (error) {
      status.textContent = inWords(error, cancelled);
    } finally {
      button.disabled = false;
      button.ariaBusy = null;
      button.focus();
    }
  };

  $("[data-order]")?.addEventListener("click", ({ currentTarget }) =>
    work(currentTarget, "Nothing was ordered. Your cart is as you left it.", async () => {
      const receipt = await post("/checkout");
      location.assign(receipt.url);
      return "Order placed. Fetching your receipt…";
    }),
  );

  // Back from a provider, or on the page of a magic link: the flow goes on where it was left.
  const back = new URLSearchParams(location.search);
  if (flow && back.has("descope-login-flow")) {
    // The page of the order waits for the link, and places it.
    if (back.has("t")) finish();
    else $("[data-order]")?.click();
  }

  /** Run the rest of the flow on this page. */
  function finish() {
    const words = $("[data-flow-words]");
    const rest = document.createElement("descope-wc");
    rest.setAttribute("flow-id", "step-up");
    for (const name of ["projectId", "baseUrl", "baseStaticUrl", "baseCdnUrl"]) {
      rest.setAttribute(name.replace(/[A-Z]/g, "-$&"), flow[name]);
    }
    rest.addEventListener("success", async ({ detail }) => {
      await keep(detail.sessionJwt);
      rest.remove();
      words.textContent = "Confirmed. Go on where you placed the order, or place it here.";
    });
    rest.addEventListener("ready", () => (words.textContent = ""));
    $("[data-flow-return]").hidden = false;
    $("[data-flow-return]").append(rest);
    rest.setAttribute("nonce", flow.nonce);
  }

  $("[data-refunds]")?.addEventListener("submit", (event) => {
    event.preventDefault();
    const ticked = new FormData(event.currentTarget).getAll("order");
    work($("[data-refund]"), "Nothing was refunded.", async () => {
      if (!ticked.length) return "Tick the orders that are to be refunded.";
      await Promise.all(ticked.map((reference) => post(`/refunds/${reference}`)));
      location.reload();
      return "Refunded. Fetching the list…";
    });
  });

  $("[data-add-passkey]")?.addEventListener("click", ({ currentTarget }) =>
    work(currentTarget, "No passkey was added.", async () => {
      const { transaction_id, options } = await post("/profile/passkey/start");
      const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
      const passkey = await navigator.credentials.create({ publicKey }).catch(() => null);
      if (!passkey) return "No passkey was added.";
      await post("/profile/passkey/finish", { transaction_id, response: passkey.toJSON() });
      await showWays().catch(() => {});
      return "Your passkey is ready. The checkout takes it from here on, and so does the refund desk.";
    }),
  );
}

// -- Forms ----------------------------------------------------------------------------------

// Without a script a button does it.
document.addEventListener("change", ({ target }) => {
  const form = target.closest("[data-submit-on-change]");
  if (form?.reportValidity()) form.requestSubmit();
});

document.addEventListener("submit", (event) => {
  if (!event.defaultPrevented) event.submitter?.setAttribute("aria-busy", "true");
});

// A page that the browser kept may show a cart that was ordered since.
addEventListener("pageshow", (event) => event.persisted && location.reload());

showConversation();
