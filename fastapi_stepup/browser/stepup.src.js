// Answers step-up challenges (RFC 9470) in the browser. Documentation: stepup.d.ts.
//
// `python -m tests.browser.squeeze` writes stepup.js from this file. Comments stand on lines of their
// own, so that it can leave them out.

export class StepUpError extends Error {
  constructor(code, members) {
    const detail = members?.problem?.detail;
    super(isText(detail) ? detail : code);
    Object.assign(this, { name: new.target.name, code }, members);
  }
}
export class StepUpCancelled extends StepUpError {}
export class StepUpBodyNotReplayable extends StepUpError {}
export class StepUpFailed extends StepUpError {}
export class StepUpUnmet extends StepUpFailed {}

const CODE = "insufficient_user_authentication";
const DELIVERIES = ["email", "sms", "voice", "whatsapp"];
const LINKS = ["magiclink", "enchantedlink"];
// The code expired or is exhausted: only a new one helps, and it may be sent at once.
const SEND_AGAIN = /^otp_e/;
const HANDLED = [...DELIVERIES, ...LINKS, "totp", globalThis.PublicKeyCredential && "passkey"];
// In `amr`, where that is another word. `otp` is any code.
const PROVED = { passkey: "webauthn", magiclink: "email", enchantedlink: "email" };
const proves = (name, amr) =>
  amr.includes(PROVED[name] ?? name) || (amr.includes("otp") && !PROVED[name]);

const list = (value) => (Array.isArray(value) ? value : []);
const isObject = (value) => value && typeof value === "object" && !Array.isArray(value);
const objectIn = (...values) => values.find(isObject) ?? {};
const isText = (value) => value && typeof value === "string";
const isToken = (value) => isText(value) && /^[\w.~+/-]+=*$/.test(value);
const problemIn = (body) => objectIn(body?.detail, body);
async function readJson(response) {
  try {
    return await response.clone().json();
    // It may be something else, or read already.
  } catch {}
}

// The account of a JWT. Not verified: it only keeps accounts apart.
function subjectIn(token) {
  try {
    return JSON.parse(plain(token.split(".")[1])).sub;
    // Other tokens say nothing.
  } catch {}
}

export function parseChallenge(field) {
  const part = /[\s,]*([^\s,="]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?/gy;
  const challenges = [{}];
  for (const [, given, quoted, plain] of (field ?? "").matchAll(part)) {
    const name = given.toLowerCase();
    const value = quoted?.replace(/\\(.)/g, "$1") ?? plain;
    if (value == null) challenges.push({ scheme: name });
    else if (!(name in challenges.at(-1))) challenges.at(-1)[name] = value;
  }
  return challenges.find(({ scheme, error }) => scheme === "bearer" && error === CODE);
}

const base = () => globalThis.document?.baseURI ?? globalThis.location?.href;

async function readChallenge(response, input) {
  const header = parseChallenge(response.headers.get("www-authenticate"));
  const problem = problemIn(await readJson(response));
  if (problem.code !== CODE && !header) return;
  try {
    const url = new URL(response.url || input, base());
    // A redirect to another origin has no say in what the user is asked.
    if (new URL(input, response.redirected ? base() : url).origin !== url.origin) return;
    const resolved = (name, value) => {
      if (!/_uri$/.test(name)) return value;
      if (!isText(value)) return;
      const { origin, href } = new URL(value, url);
      if (origin !== url.origin) throw new StepUpError("foreign_uri", { uri: value });
      return href;
    };
    const stepUp = objectIn(JSON.parse(JSON.stringify(problem.step_up ?? {}), resolved));
    const otp = stepUp.start_uri && Object.fromEntries(DELIVERIES.map((name) => [name, stepUp]));
    const routes = { ...objectIn(stepUp.uris), ...otp };
    const alternatives = list(problem.alternatives).filter(isObject);
    // Of several clauses the server offers only what proves one that is still unmet.
    const wanted = (alternatives.length ? alternatives : [problem]).map(({ amr }) =>
      list(amr).flat(),
    );
    const known = list(stepUp.methods);
    const offered = known.filter((name) => HANDLED.includes(name) && isObject(routes[name]));
    // By the nearest alternative first.
    const through = (test) => [
      ...new Set(wanted.flatMap((amr) => offered.filter((name) => test(name, amr)))),
    ];
    const sure = through((name, amr) => !amr.includes("mfa") && proves(name, amr));
    const any = (amr) => !amr.length || amr.includes("mfa");
    const inHeader = /^\d{1,10}$/.test(header?.max_age) ? +header.max_age : null;
    return {
      problem,
      response,
      url,
      unmet: list(problem.unmet),
      maxAge: Number.isSafeInteger(problem.max_age) ? problem.max_age : inHeader,
      acrValues: list(problem.acr_values ?? header?.acr_values?.match(/\S+/g)),
      amr: list(problem.amr),
      alternatives,
      wanted,
      methods: through((name, amr) => any(amr) || proves(name, amr)),
      // The page has no other methods of its own to meet it by.
      complete: Array.isArray(stepUp.methods) && known.every((name) => HANDLED.includes(name)),
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

// Above zero while a callback of the page begins, or goes on after one of its steps. Requests that
// start then are its own, and must not wait for the step-up that waits for them.
let inside = 0;
let callbacks = 0;
async function enter() {
  for (inside = 9; inside > 0; inside--) await 0;
}
async function run(callback, ...given) {
  enter();
  callbacks++;
  try {
    return await callback?.(...given);
  } finally {
    inside = 0;
    callbacks--;
  }
}

export function withStepUp(fetch, options = {}) {
  const origins = list(options.origins).map((origin) => new URL(origin).origin);
  const running = new Map();
  let ended = 0;
  // Of a token: the first one of its session, which step-ups have replaced since.
  const firsts = new Map();
  const first = (token) => firsts.get(token) ?? token;
  const account = (token) => subjectIn(token) ?? first(token);
  const getTokens = async () => ({ ...(await run(options.getTokens)) });

  // What no helper route can do, a new authorization may.
  const authorizes = ({ methods, flowId }) => options.onChallenge && !methods.length && !flowId;
  async function authorize(...given) {
    const { authorize } = await part("authorize").catch((cause) => {
      throw new StepUpFailed("network", { cause });
    });
    return authorize(StepUpUnmet, (...asked) => run(options.onChallenge, ...asked), ...given);
  }

  function stepsFor(challenge, { authorization, credentials }, signal) {
    const { routes, statusUri } = challenge;
    const post = async (uri, members) => {
      const { sessionToken, refreshToken } = await getTokens();
      const headers = { "Content-Type": "application/json" };
      const bearer = sessionToken ? `Bearer ${sessionToken}` : authorization;
      if (bearer) headers.Authorization = bearer;
      const body = JSON.stringify({ ...members, refresh_token: refreshToken });
      const init = { method: "POST", headers, body, credentials, redirect: "error", signal };
      const response = await run(options.fetch ?? fetch, uri, init).catch((cause) => {
        throw new StepUpFailed("network", { cause });
      });
      const reply = await readJson(response);
      enter();
      if (response.status === 202) return null;
      if (response.ok && !response.redirected && isObject(reply)) return reply;
      const problem = problemIn(reply);
      const wait = response.headers.get("retry-after");
      const retryAfter = /^\d{1,5}$/.test(wait) ? +wait : null;
      const code = isText(problem.code) ? problem.code : "failed";
      throw new StepUpFailed(code, { problem, retryAfter });
    };
    const step = (name) => async (method, members) => {
      const delivery = DELIVERIES.includes(method) ? method : undefined;
      const uri = routes[method]?.[name] ?? routes[method]?.finish_uri;
      if (!uri) throw new StepUpFailed("failed");
      return post(uri, { delivery, ...members });
    };
    return {
      challenge,
      status: async () => (statusUri ? post(statusUri).catch(() => null) : null),
      start: step("start_uri"),
      poll: step("poll_uri"),
      verify: step("verify_uri"),
    };
  }

  async function stepUp({ status, ...steps }, held, opening, signal) {
    signal.throwIfAborted();
    let known = opening;
    steps.status = () => {
      const now = known ?? status();
      known = null;
      return now;
    };
    const session = await (authorizes(steps.challenge)
      ? authorize(steps.challenge, signal)
      : options.prompt
        ? run(options.prompt, steps, signal, options)
        : StepUpDialog.prompt(steps, signal, options));
    signal.throwIfAborted();
    if (!session) throw new StepUpCancelled("cancelled");
    const tokens = await getTokens();
    const sessionToken = session.session_token ?? null;
    const token = sessionToken ?? tokens.sessionToken;
    if (sessionToken !== null && !isToken(sessionToken)) throw new StepUpFailed("no_session");
    // Cookies do not show whose they are, and another tab may have replaced them meanwhile.
    const one = held ? subjectIn(held) : (await opening)?.subject;
    const other = held ? subjectIn(token) : (session.subject ?? (await status())?.subject);
    if (one && one !== other && (other || !held)) throw new StepUpFailed("subject_mismatch");
    const fresh = isToken(session.refresh_token) && session.refresh_token;
    if (sessionToken || fresh) {
      const refreshToken = fresh || tokens.refreshToken || null;
      await run(options.onTokens, { sessionToken, refreshToken, session });
    }
    firsts.set(token, first(held));
    return token;
  }

  function begin(key, challenge, caller) {
    const over = new AbortController();
    const one = { over, waiting: 0, end: Infinity };
    const end = () => {
      one.end = ++ended;
      over.abort();
    };
    const { held } = caller;
    const steps = stepsFor(challenge, caller, over.signal);
    // Now, and not when the dialogs before this one are closed.
    const opening = held ? null : steps.status();
    one.result = queue.then(() => stepUp(steps, held, opening, over.signal)).finally(end);
    queue = one.result.catch(() => {});
    running.set(key, one);
    return one;
  }

  const join = (one, key, signal, instead) =>
    new Promise((resolve, reject) => {
      const leave = () => {
        reject(signal.reason);
        if (--one.waiting) return;
        running.delete(key);
        one.over.abort();
      };
      one.waiting++;
      signal?.addEventListener("abort", leave, { signal: one.over.signal });
      if (signal?.aborted) leave();
      const timer = instead && setTimeout(resolve, 60000, instead);
      one.result.then(resolve, reject).finally(() => clearTimeout(timer));
    });

  return async function stepUpFetch(input, init) {
    const nested = inside > 0;
    const meanwhile = callbacks > 0;
    let given = input instanceof Request ? input : null;
    const body = init?.body;
    let copied = given && body == null && !/GET|HEAD/.test(given.method);
    let replayable = !body?.getReader && !body?.[Symbol.asyncIterator];
    let next = input;
    let headers;
    let rejoined = false;
    let asked = false;
    let authorized;
    for (;;) {
      const now = next;
      if (copied && now.bodyUsed) replayable = false;
      else if (copied) next = now.clone();
      const sent = ended;
      const response = await fetch(now, headers ? { ...init, headers } : init);
      if (response.status !== 401 || (asked && !authorized) || nested) return response;
      const challenge = await readChallenge(response, given?.url ?? input);
      if (!challenge) return response;
      const { problem } = challenge;
      if (asked) throw new StepUpUnmet("unmet_authentication_requirements", { problem, response });
      authorized = authorizes(challenge);
      if (challenge.hopeless && !authorized) return response;
      const { url } = challenge;
      headers ??= new Headers(init?.headers ?? given?.headers);
      const authorization = headers.get("authorization");
      const bearer = /^bearer +(\S+)$/i.exec(authorization)?.[1];
      // All opaque origins are called "null".
      const own = [globalThis.location?.origin, ...origins].includes(url.origin);
      const trusted = own && url.origin !== "null";
      if (!trusted && !bearer) return response;
      const { sessionToken } = await getTokens();
      // An Authorization field says nothing about whose API it is sent to: other origins get a
      // step-up only if the field is the app's session itself. And a request is only repeated as
      // the account that made it: on a trusted origin it may be another one than the app's.
      const identity = trusted ? account : first;
      const same = identity(bearer) === identity(sessionToken);
      if (!same && !(trusted && (!authorization || !sessionToken))) return response;
      const answered = authorized || options.prompt || StepUpDialog.handles(challenge, options);
      if (!answered) return response;
      const credentials = init?.credentials ?? given?.credentials ?? "same-origin";
      const signal = init?.signal ?? given?.signal;
      if (response.redirected) {
        // The request that was refused is the one that the redirect led to; the first one was
        // carried out. It was a GET, as a rule. Where only a slash was added, the method may have
        // been kept (307): that does not show here, and nothing is sent again.
        const path = (uri) => new URL(uri, base()).pathname.replace(/[/]$/, "");
        const safe = /GET|HEAD/.test(init?.method ?? given?.method ?? "GET");
        if (!safe && path(url) === path(given?.url ?? input)) return response;
        next = input = url.href;
        init = { ...init, credentials, signal, method: "GET", body: null };
        headers.delete("content-type");
        given = copied = null;
        replayable = true;
      }
      if (!replayable) throw new StepUpBodyNotReplayable("body_not_replayable", { response });
      const held = bearer ?? sessionToken;
      const { wanted, acrValues } = challenge;
      const key = JSON.stringify([url.origin, account(held), wanted, acrValues]);
      let one = running.get(key);
      // Sent before the last step-up ended: send it again before asking.
      rejoined = !rejoined && one?.end > sent && one.end < Infinity;
      asked = !rejoined;
      if (asked && one?.end !== Infinity) {
        one = begin(key, challenge, { held, authorization, credentials });
      }
      const token = await join(one, key, signal, meanwhile && response);
      if (token === response) return response;
      if (token && bearer) headers.set("authorization", `Bearer ${token}`);
    }
  };
}

export const stepUpFetch = withStepUp((...request) => globalThis.fetch(...request));

const plain = (text) => atob(text.replace(/-/g, "+").replace(/_/g, "/"));

// A module that only some pages need. It comes from the script's own path, so that what lets a page
// load the script (a rule, a policy, a proxy) lets it load this too.
const part = (query) => import(`./stepup.js?part=${query}`);

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
[aria-busy=true]::after { content: " …" / "" }
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
const FINAL = /token|unauth|mismatch|impersonation|cross_site|no_step_up|^flow/;
// What was sent in the last half minute: opening the dialog again does not send it again.
const sentLately = new Map();

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
    flow_unavailable: "That did not load. Confirm another way.",
    too_many_attempts: "Too many attempts. Try again in {seconds} s.",
    refresh_token_required: "Sign in again to confirm it’s you.",
    no_step_up_method: "Your account has no way to confirm it’s you.",
  };
  texts = {};

  static handles(challenge, options) {
    const { methods, complete } = challenge;
    return globalThis.document && (methods.length || complete || flowIn(challenge, options));
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
    const texts = { __proto__: null, ...StepUpDialog.texts, ...this.texts };
    const say = (key, values) =>
      texts[key]?.replace(/{(\w+)}/g, (_, name) =>
        /string|number/.test(typeof values?.[name]) ? values[name] : "…",
      );
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
    // Stops what an earlier view started.
    let view = new AbortController();
    let sent = {};
    let busy;

    signal.addEventListener("abort", close);
    const closed = new Promise((resolve) => {
      dialog.onclose = resolve;
    });
    const done = (session) => {
      sentLately.clear();
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
      const detail = isText(problem?.detail) && problem.detail;
      const words = say(code, { seconds: retryAfter || 60 }) ?? (detail || say("failed"));
      if (FINAL.test(code)) {
        outcome = { reason };
        const href = problem?.enroll_uri;
        const link = isText(href) && make("a", { class: "primary", href }, say("enroll"));
        const enroll = /^http/.test(link?.protocol) && link;
        return show(words, enroll, button("", close, say("close")));
      }
      error.textContent = words;
      if (retryAfter || SEND_AGAIN.test(code)) sent.until = Date.now() + retryAfter * 1000;
      const input = body.querySelector("input");
      input?.setAttribute("aria-invalid", true);
      input?.select();
    };
    const attempt = async (work) => {
      const mine = view;
      const primary = body.querySelector(".primary");
      if (busy === mine) return;
      busy = mine;
      error.textContent = "";
      dialog.className = "busy";
      if (primary) primary.ariaBusy = true;
      await work().catch((reason) => mine.signal.aborted || fail(reason));
      if (primary) primary.ariaBusy = false;
      if (busy === mine) busy = dialog.className = "";
    };

    const choose = () => {
      const each = ({ method, destination }) =>
        button(
          "method",
          () => attempt(() => pick(method, destination)),
          make("b", {}, say(method)),
          isText(destination) && make("small", {}, destination),
        );
      show(say("choose"), ...methods.map(each));
    };
    const again = (last, send) => {
      const element = button("text", () => last.until > Date.now() || attempt(send));
      const tick = () => {
        const seconds = Math.ceil((last.until - Date.now()) / 1000);
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
    const pick = async (method, place, text = "sent") => {
      const link = LINKS.includes(method);
      const steppedUp = async () => {
        const status = await steps.status();
        return status?.stepped_up && status.expires_at;
      };
      const before = link && (await steppedUp());
      const mail = method === "magiclink" && { delivery: "email" };
      const sends = !/totp|passkey/.test(method);
      const key = [challenge.routes[method].start_uri, method, place].join();
      sent = sentLately.get(key) ?? {};
      if (sends && !(sent.until > Date.now())) {
        const reply = await steps.start(method, mail);
        sent = { ...reply, until: Date.now() + 30000 };
        sentLately.set(key, sent);
      }
      const last = sent;
      let label = link ? "opened" : method;
      let field = [isText(sent.link_id) && make("p", { class: "number" }, sent.link_id)];
      let prove = async () => {
        const { usePasskey } = await part("passkey");
        const { transaction_id, options } = await steps.start(method);
        const response = await usePasskey(options, view.signal).catch(() => {
          throw { code: "unused" };
        });
        return steps.verify(method, { transaction_id, response });
      };
      const { statusUri } = challenge;
      if (mail) {
        prove = async () => {
          const now = await steppedUp();
          return (!statusUri || (now && now !== before)) && {};
        };
      } else if (link) {
        prove = () => steps.poll(method, { pending_ref: last.pending_ref });
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
      const resend = sends && again(last, () => pick(method, place, "resent"));
      show(
        say(`${method}_lead`, last) ?? say(text, last),
        ...field,
        make("button", { class: "primary" }, say(label)),
        make("div", { class: "row" }, resend, other),
      );
      if (link && (statusUri || !mail)) watch(prove, view);
    };
    const known = steps.status();
    const offer = async (words) => {
      const status = await known;
      if (status) {
        const usable = (name) => list(status.methods).filter((one) => one?.method === name);
        methods = challenge.methods.flatMap(usable);
      }
      const [{ method, destination } = {}] = methods;
      if (methods.length > 1) choose();
      else if (method) await attempt(() => pick(method, destination));
      else fail(new StepUpFailed(words ?? "no_step_up_method", { problem: status ?? {} }));
      if (words) error.textContent ||= say(words);
    };

    try {
      // Open on the first question, unless that takes long.
      await Promise.race([known, pause(0.3)]);
      if (signal.aborted) return;
      dialog.className = "busy";
      dialog.showModal();
      if (flowIn(challenge, options)) {
        show("");
        dialog.className = "busy";
        const { signal } = view;
        const late = () => signal.aborted || offer("flow_unavailable");
        // A flow that cannot be loaded fires no event at all.
        const timer = setTimeout(late, 8000);
        const ready = () => clearTimeout(timer);
        signal.addEventListener("abort", ready);
        part("flow")
          .then(({ showFlow }) => {
            const given = { challenge, options, signal, ready, done, fail };
            return signal.aborted || showFlow(this, given);
          })
          .catch(() => ready(late()));
      } else offer();
      await closed;
    } finally {
      view.abort();
      dialog.close();
      root.replaceChildren();
    }
    if (outcome.reason) throw outcome.reason;
    return outcome.session;
  }
}

globalThis.customElements?.get("step-up-dialog") ??
  globalThis.customElements?.define("step-up-dialog", StepUpDialog);
