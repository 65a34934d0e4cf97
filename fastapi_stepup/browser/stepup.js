// Answers step-up challenges (RFC 9470) in the browser. Documentation: stepup.d.ts.

export class StepUpError extends Error {
  constructor(code, members) {
    super(members?.problem?.detail ?? code);
    Object.assign(this, { name: new.target.name, code }, members);
  }
}
export class StepUpCancelled extends StepUpError {}
export class StepUpBodyNotReplayable extends StepUpError {}
export class StepUpFailed extends StepUpError {}

const CODE = "insufficient_user_authentication";
const DELIVERIES = ["email", "sms", "voice", "whatsapp"];
const LINKS = ["magiclink", "enchantedlink"];
const HANDLED = [...DELIVERIES, ...LINKS, "totp", globalThis.PublicKeyCredential && "passkey"];

const list = (value) => (Array.isArray(value) ? value : []);
const problemIn = (body) => (typeof body?.detail === "object" ? body.detail : body) ?? {};
async function readJson(response) {
  try {
    return await response.clone().json();
  } catch {} // Something else, or read already.
}

export function parseChallenge(field) {
  const part = /[\s,]*([^\s,="]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?/gy;
  const challenges = [{}];
  for (const [, name, quoted, plain] of (field ?? "").matchAll(part)) {
    const value = quoted?.replace(/\\(.)/g, "$1") ?? plain;
    if (value == null) challenges.push({ scheme: name.toLowerCase() });
    else challenges.at(-1)[name.toLowerCase()] ??= value;
  }
  return challenges.find(({ scheme, error }) => scheme === "bearer" && error === CODE);
}

async function readChallenge(response, url) {
  // Where a redirect may have led has no say in what the user is asked.
  if (new URL(response.url || url).origin !== url.origin) return;
  const header = parseChallenge(response.headers.get("www-authenticate"));
  const problem = problemIn(await readJson(response));
  if (problem.code !== CODE && !header) return;
  const at = (uri) => {
    const target = new URL(uri, url);
    if (target.origin !== url.origin) throw new StepUpError("foreign_uri", { uri });
    return target.href;
  };
  try {
    const resolved = (name, value) => (value && /_uri$/.test(name) ? at(value) : value);
    const stepUp = JSON.parse(JSON.stringify(problem.step_up ?? {}, resolved));
    const otp = stepUp.start_uri && Object.fromEntries(DELIVERIES.map((name) => [name, stepUp]));
    const routes = { ...stepUp.uris, ...otp };
    const amr = list(problem.amr);
    const offered = list(stepUp.methods).filter((name) => routes[name] && HANDLED.includes(name));
    const meets = (name) =>
      !amr.includes("mfa") && amr.includes(name === "passkey" ? "webauthn" : name);
    const sure = offered.filter(meets);
    return {
      problem,
      response,
      url,
      unmet: list(problem.unmet),
      maxAge: problem.max_age ?? (/^\d{1,10}$/.test(header?.max_age) ? +header.max_age : null),
      acrValues: list(problem.acr_values ?? header?.acr_values?.match(/\S+/g)),
      amr,
      methods: sure.length ? sure : offered,
      // Stepped up just now: only another method helps.
      hopeless: problem.unmet_after_step_up === true && !sure.length,
      flowId: stepUp.flow_id,
      statusUri: stepUp.status_uri,
      routes,
    };
  } catch (error) {
    console.warn(error);
  }
}

// One dialog at a time.
let queue = Promise.resolve();

export function withStepUp(fetch, options = {}) {
  const flights = new Map();
  let landings = 0;

  async function stepUp(challenge, { own, authorization, credentials }, signal) {
    signal.throwIfAborted();
    const getTokens = async () => (own && (await options.getTokens?.())) || {};
    const post = async (uri, members) => {
      const { sessionToken, refreshToken } = await getTokens();
      const headers = { "Content-Type": "application/json" };
      const bearer = sessionToken ? `Bearer ${sessionToken}` : authorization;
      if (bearer) headers.Authorization = bearer;
      const body = JSON.stringify({ ...members, refresh_token: refreshToken });
      const init = { method: "POST", headers, body, credentials, redirect: "error", signal };
      const response = await (options.fetch ?? fetch)(uri, init).catch((cause) => {
        throw new StepUpFailed("network", { cause });
      });
      const reply = await readJson(response);
      if (response.ok && reply) return response.status === 202 ? null : reply;
      const problem = problemIn(reply);
      const retryAfter = +response.headers.get("retry-after") || null;
      throw new StepUpFailed(problem.code ?? "failed", { problem, retryAfter });
    };
    const { routes, statusUri } = challenge;
    const step = (name) => (method, members) => {
      const delivery = DELIVERIES.includes(method) ? method : undefined;
      return post(routes[method][name] ?? routes[method].finish_uri, { delivery, ...members });
    };
    const steps = {
      challenge,
      status: async () => (statusUri ? post(statusUri).catch(() => null) : null),
      start: step("start_uri"),
      poll: step("poll_uri"),
      verify: step("verify_uri"),
    };
    const session = await (options.prompt ?? StepUpDialog.prompt)(steps, signal, options);
    signal.throwIfAborted();
    if (!session) throw new StepUpCancelled("cancelled");
    const tokens = await getTokens();
    const { session_token: sessionToken = null, refresh_token } = session;
    const refreshToken = refresh_token ?? tokens.refreshToken ?? null;
    if (sessionToken || refresh_token) {
      await options.onTokens?.({ sessionToken, refreshToken, session });
    }
    return sessionToken ?? tokens.sessionToken;
  }

  function depart(key, challenge, caller) {
    const over = new AbortController();
    const flight = { over, waiting: 0, landed: Infinity };
    const land = () => {
      flight.landed = ++landings;
      over.abort();
    };
    flight.landing = queue.then(() => stepUp(challenge, caller, over.signal)).finally(land);
    queue = flight.landing.catch(() => {});
    flights.set(key, flight);
    return flight;
  }

  const board = (flight, key, signal) =>
    new Promise((resolve, reject) => {
      const leave = () => {
        reject(signal.reason);
        if (--flight.waiting) return;
        flights.delete(key);
        flight.over.abort();
      };
      flight.waiting++;
      signal?.addEventListener("abort", leave, { signal: flight.over.signal });
      if (signal?.aborted) leave();
      flight.landing.then(resolve, reject);
    });

  return async function stepUpFetch(input, init) {
    const given = input instanceof Request ? input : null;
    const body = init?.body;
    const copied = given && body == null && !/GET|HEAD/.test(given.method);
    let replayable = !body?.getReader && !body?.[Symbol.asyncIterator];
    let next = input;
    let headers;
    let rejoined = false;
    let asked = false;
    for (;;) {
      const now = next;
      if (copied && now.bodyUsed) replayable = false;
      else if (copied) next = now.clone();
      const departed = landings;
      const response = await fetch(now, headers ? { ...init, headers } : init);
      if (response.status !== 401 || asked) return response;
      const url = new URL(given?.url ?? input, globalThis.document?.baseURI);
      const challenge = await readChallenge(response, url);
      if (!challenge || challenge.hopeless) return response;
      headers ??= new Headers(init?.headers ?? given?.headers);
      const authorization = headers.get("authorization");
      const credentials = init?.credentials ?? given?.credentials ?? "same-origin";
      const own =
        authorization ||
        [globalThis.location?.origin, ...list(options.origins)].includes(url.origin);
      // A stranger's challenge is not ours to answer.
      if (!own && credentials !== "include") return response;
      if (!options.prompt && !StepUpDialog.handles(challenge, options)) return response;
      if (!replayable) throw new StepUpBodyNotReplayable("body_not_replayable", { response });
      response.body?.cancel().catch(() => {});
      const key = JSON.stringify([url.origin, challenge.amr, challenge.acrValues]);
      let flight = flights.get(key);
      // Sent before the last step-up: send it again before asking.
      rejoined = !rejoined && flight?.landed > departed && flight.landed < Infinity;
      asked = !rejoined;
      if (asked && flight?.landed !== Infinity) {
        flight = depart(key, challenge, { own, authorization, credentials });
      }
      const token = await board(flight, key, init?.signal ?? given?.signal);
      if (token && authorization) headers.set("authorization", `Bearer ${token}`);
    }
  };
}

export const stepUpFetch = withStepUp((...request) => globalThis.fetch(...request));

const encode = (buffer) =>
  buffer &&
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/[+]/g, "-")
    .replace(/[/]/g, "_")
    .replace(/=/g, "");
const decode = (name, value) =>
  /^(challenge|id)$/.test(name)
    ? Uint8Array.from(atob(value.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0))
    : value;

async function usePasskey(options, signal) {
  const publicKey =
    PublicKeyCredential.parseRequestOptionsFromJSON?.(options) ??
    JSON.parse(JSON.stringify(options), decode);
  const credential = await navigator.credentials.get({ publicKey, signal });
  if (credential.toJSON) return credential.toJSON();
  const { id, type } = credential;
  const response = {};
  for (const name of ["clientDataJSON", "authenticatorData", "signature", "userHandle"]) {
    response[name] = encode(credential.response[name]);
  }
  return { id, rawId: id, type, response, clientExtensionResults: {} };
}

const CSS = `
:host { color-scheme: light dark; display: contents;
  --a: var(--step-up-accent, light-dark(#3d46d6, #a7b0ff));
  --o: var(--step-up-accent-text, light-dark(#fff, #14162e));
  --s: var(--step-up-surface, light-dark(#fff, #1b1d26));
  --t: var(--step-up-text, light-dark(#191b23, #eef0f6));
  --m: var(--step-up-muted, light-dark(#565b6b, #aab0c0));
  --b: var(--step-up-border, light-dark(#d5d8e2, #3f4453));
  --e: var(--step-up-error, light-dark(#b3202a, #ff9aa0));
  --r: var(--step-up-radius, 14px) }
* { box-sizing: border-box; font: inherit; margin: 0 }
dialog { border: 1px solid var(--b); border-radius: calc(var(--r) * 1.4); padding: 28px;
  margin: auto; width: min(400px, 100vw - 24px); background: var(--s); color: var(--t);
  box-shadow: 0 24px 64px -12px #0006; font: 16px/1.5 var(--step-up-font, system-ui, sans-serif);
  animation: in .2s }
dialog::backdrop { background: #0b0d1699 }
dialog::before { content: ""; display: block; width: 44px; height: 44px; background: var(--a);
  clip-path: path(evenodd, "M22 0a22 22 0 1 1-.1 0M16 20v-4a6 6 0 0 1 12 0v4h2v12H14V20m5 0h6v-4a3 3 0 0 0-6 0") }
@keyframes in { from { opacity: 0; translate: 0 10px } }
h2 { font-size: 1.3em; margin: 14px 0 4px }
#lead { color: var(--m); overflow-wrap: anywhere }
#error { color: var(--e) }
#error:not(:empty) { margin-top: 10px }
form { display: grid; gap: 10px; margin-top: 20px }
button, a, input { border: 1px solid var(--b); border-radius: var(--r); padding: 10px 16px;
  background: none; color: inherit; min-height: 48px; text-align: center; text-decoration: none }
button { cursor: pointer }
button:hover { border-color: var(--a) }
:focus-visible { outline: 3px solid var(--a); outline-offset: 2px }
.primary { background: var(--a); color: var(--o) }
h2, b, label, .primary, #error, .number { font-weight: 600 }
.method { display: grid; text-align: start }
small { font-size: .9em; color: var(--m); unicode-bidi: plaintext; justify-self: start }
.text, .close { border-color: transparent; color: var(--a); font-size: .95em }
[aria-disabled=true] { color: var(--m); cursor: default }
.row { display: flex; flex-wrap: wrap; justify-content: center; margin: 0 -16px -12px }
.close { position: absolute; top: 12px; inset-inline-end: 12px; color: var(--m); font-size: 1.5em;
  line-height: 1 }
input { border-color: var(--m); padding: 8px; letter-spacing: .2em; width: 100%;
  font: 600 1.6em/1.5 ui-monospace, monospace }
.number { font-size: 2.6em; line-height: 1; text-align: center }
[aria-invalid] { border-color: var(--e) }
.busy::before { animation: in .6s infinite alternate }
@media (max-width: 480px) { dialog { padding: 22px; margin-top: 12px } }
@media (prefers-reduced-motion) { dialog, ::before { animation: none } }`;

const make = (tag, members, ...children) => {
  const element = document.createElement(tag);
  for (const name in members) element.setAttribute(name, members[name]);
  element.part = element.className || element.id || tag;
  element.append(...children.filter(Boolean));
  return element;
};
const pause = (seconds) => new Promise((resume) => setTimeout(resume, seconds * 1000));
const flowIn = ({ flowId }, { flow, projectId }) =>
  flowId && projectId && flow !== "never" && customElements.get("descope-wc");
// The dialog cannot help against these.
const FINAL = /token|unauth|mismatch|impersonation|cross_site|no_step_up/;

export class StepUpDialog extends (globalThis.HTMLElement ?? Object) {
  // All else is said in the words of the problem.
  static texts = {
    title: "Confirm it’s you",
    choose: "How would you like to confirm?",
    email: "Email me a code",
    sms: "Text me a code",
    voice: "Call me with a code",
    whatsapp: "WhatsApp me a code",
    totp: "Use my authenticator app",
    passkey: "Use my passkey",
    magiclink: "Email me a link",
    enchantedlink: "Email me links to pick from",
    sent: "We sent a code to {destination}.",
    resent: "We sent a new code to {destination}.",
    totp_lead: "Enter the code from your authenticator app.",
    passkey_lead: "Your device asks for your fingerprint, face or PIN.",
    magiclink_lead: "Check your mail: open the link that we sent to {destination}.",
    enchantedlink_lead:
      "Check your mail: open the link with this number that we sent to {destination}.",
    code: "6-digit code",
    confirm: "Confirm",
    opened: "I have opened it",
    resend: "Send again",
    wait: "Send again in {seconds} s",
    another: "Another way",
    enroll: "Set one up",
    close: "Close",
    incomplete: "Enter all 6 digits.",
    pending: "Not confirmed yet. Open the link first.",
    unused: "The passkey was not used. Try again.",
    network: "No connection. Check your network and try again.",
    failed: "That did not work. Try again.",
    too_many_attempts: "Too many attempts. Try again in {seconds} s.",
    refresh_token_required: "Sign in again to confirm it’s you.",
    no_step_up_method: "Your account has no way to confirm it’s you.",
  };
  texts = {};

  static handles(challenge, options) {
    return globalThis.document && (challenge.methods.length || flowIn(challenge, options));
  }

  static async prompt(...given) {
    const there = document.querySelector("step-up-dialog");
    const host = there ?? document.body.appendChild(make("step-up-dialog"));
    try {
      return await host.prompt(...given);
    } finally {
      if (!there) host.remove();
    }
  }

  async prompt({ challenge, ...steps }, signal, options) {
    const texts = { ...StepUpDialog.texts, ...this.texts };
    const say = (key, values) => texts[key]?.replace(/{(\w+)}/g, (_, name) => values[name]);
    const button = (kind, action, ...children) => {
      const element = make("button", { type: "button", class: kind }, ...children);
      element.onclick = action;
      return element;
    };
    const close = () => dialog.close();
    const lead = make("p", { id: "lead", "aria-live": "polite" });
    const body = make("form", { novalidate: "" });
    const error = make("p", { id: "error", role: "alert" });
    const cross = button("close", close, "×");
    cross.ariaLabel = say("close");
    const title = make("h2", { id: "title" }, say("title"));
    const labels = { "aria-labelledby": "title", "aria-describedby": "lead" };
    const dialog = make("dialog", labels, title, lead, error, body, make("slot"), cross);
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
    root.adoptedStyleSheets = [sheet];
    root.replaceChildren(dialog);

    let methods = challenge.methods.map((method) => ({ method }));
    let outcome = {};
    let view = new AbortController(); // Stops what an earlier view started.
    let until;
    let busy;

    signal.addEventListener("abort", close);
    const closed = new Promise((resolve) => {
      dialog.onclose = resolve;
    });
    const done = (session) => {
      outcome = { session };
      close();
    };
    const show = (text, ...children) => {
      view.abort();
      view = new AbortController();
      dialog.className = "";
      lead.textContent = text;
      error.textContent = "";
      body.replaceChildren(...children.filter(Boolean));
      (body.querySelector("input, .primary") ?? body.firstChild)?.focus();
    };
    const fail = (reason) => {
      const { code, problem, retryAfter } = reason;
      const words = say(code, { seconds: retryAfter || 60 }) ?? problem?.detail ?? say("failed");
      if (FINAL.test(code)) {
        outcome = { reason };
        const href = problem.enroll_uri && new URL(problem.enroll_uri, challenge.url).href;
        const enroll = /^http/.test(href) && make("a", { class: "primary", href }, say("enroll"));
        return show(words, enroll, button("", close, say("close")));
      }
      error.textContent = words;
      if (retryAfter || code === "otp_expired") until = Date.now() + retryAfter * 1000;
      const input = body.querySelector("input");
      input?.setAttribute("aria-invalid", true);
      input?.select();
    };
    const attempt = async (work) => {
      const mine = view;
      if (busy === mine) return;
      busy = mine;
      error.textContent = "";
      dialog.className = "busy";
      await work().catch((reason) => mine.signal.aborted || fail(reason));
      if (busy === mine) busy = dialog.className = "";
    };

    const choose = () => {
      const each = ({ method, destination }) => {
        const where = destination && make("small", {}, destination);
        return button(
          "method",
          () => attempt(() => pick(method)),
          make("b", {}, say(method)),
          where,
        );
      };
      show(say("choose"), ...methods.map(each));
    };
    const again = (method) => {
      const send = () => until > Date.now() || attempt(() => pick(method, "resent"));
      const element = button("text", send);
      until = Date.now() + 30000;
      const tick = () => {
        const seconds = Math.ceil((until - Date.now()) / 1000);
        element.ariaDisabled = seconds > 0;
        element.textContent = say(seconds > 0 ? "wait" : "resend", { seconds });
        setTimeout(() => element.isConnected && tick(), 500);
      };
      tick();
      return element;
    };
    const watch = async (prove, { signal }) => {
      while ((await pause(2), !signal.aborted)) {
        const session = await prove().catch(() => null);
        if (session && !signal.aborted) done(session);
      }
    };
    const pick = async (method, text = "sent") => {
      const link = LINKS.includes(method);
      const steppedUp = async () => {
        const status = await steps.status();
        return status?.stepped_up && status.expires_at;
      };
      const before = link && (await steppedUp());
      const mail = method === "magiclink" && { delivery: "email" };
      const sent = !/totp|passkey/.test(method) && (await steps.start(method, mail));
      let label = link ? "opened" : method;
      let field = [sent.link_id && make("p", { class: "number" }, sent.link_id)];
      let prove = async () => {
        const { transaction_id, options } = await steps.start(method);
        const response = await usePasskey(options, view.signal).catch(() => {
          throw { code: "unused" };
        });
        return steps.verify(method, { transaction_id, response });
      };
      const told = challenge.statusUri;
      if (mail) {
        prove = async () => {
          const now = await steppedUp();
          return (!told || (now && now !== before)) && {};
        };
      } else if (link) {
        prove = () => steps.poll(method, { pending_ref: sent.pending_ref });
      } else if (method !== "passkey") {
        const code = make("input", {
          id: "code",
          inputmode: "numeric",
          autocomplete: "one-time-code",
          "aria-describedby": "lead error",
        });
        code.oninput = () => {
          // Drop what was pasted around the code.
          const digits = code.value.normalize("NFKC").replace(/[\s-]/g, "");
          code.value = digits.match(/\d{6}/)?.[0] ?? digits.replace(/\D/g, "");
        };
        label = "confirm";
        field = [make("label", { for: "code" }, say("code")), code];
        prove = async () => {
          if (code.value.length < 6) throw { code: "incomplete" };
          return steps.verify(method, { code: code.value });
        };
      }
      body.onsubmit = (event) => {
        event.preventDefault();
        attempt(async () => {
          const session = await prove();
          if (!session) throw { code: "pending" };
          done(session);
        });
      };
      const other = methods.length > 1 && button("text", choose, say("another"));
      show(
        say(`${method}_lead`, sent) ?? say(text, sent),
        ...field,
        make("button", { class: "primary" }, say(label)),
        make("div", { class: "row" }, sent && again(method), other),
      );
      if (link && (told || !mail)) watch(prove, view);
    };

    const known = steps.status();
    // Open on the first question, unless that takes long.
    await Promise.race([known, pause(0.3)]);
    if (signal.aborted) return;
    dialog.className = "busy";
    dialog.showModal();
    if (flowIn(challenge, options)) {
      const { projectId, baseUrl = "" } = options;
      const where = { "project-id": projectId, "flow-id": challenge.flowId, "base-url": baseUrl };
      const flow = make("descope-wc", where);
      flow.addEventListener("success", ({ detail }) =>
        done({ session_token: detail.sessionJwt, refresh_token: detail.refreshJwt }),
      );
      flow.addEventListener("error", fail);
      this.append(flow);
      show("");
      view.signal.addEventListener("abort", () => flow.remove());
    } else {
      const status = await known;
      if (status) {
        methods = list(status.methods).filter(({ method }) => challenge.methods.includes(method));
      }
      if (methods.length > 1) choose();
      else if (methods.length) attempt(() => pick(methods[0].method));
      else fail(new StepUpFailed("no_step_up_method", { problem: status }));
    }
    await closed;
    view.abort();
    root.replaceChildren();
    if (outcome.reason) throw outcome.reason;
    return outcome.session;
  }
}

globalThis.customElements?.get("step-up-dialog") ??
  globalThis.customElements?.define("step-up-dialog", StepUpDialog);
