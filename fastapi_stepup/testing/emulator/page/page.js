// The emulator's page: shows what the admin API tells every two seconds, and calls it.

const INTERVAL = 2000;
const SHOWN = 50; // of messages, sessions and requests: the latest ones
const $ = (id) => document.getElementById(id);

// -- The admin API ----------------------------------------------------------------------------

async function call(path, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(`_emulator/${path}`, { cache: "no-store", ...options });
  const reply = await response.json();
  if (!response.ok) throw new Error(reply.error);
  return reply;
}

// -- Making elements. All text goes in as text -------------------------------------------------

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const hidden = (text) => make("span", { className: "hidden" }, text);
const badge = (text, kind = "") => make("span", { className: `badge ${kind}` }, text);
const badges = (...all) => make("span", { className: "badges" }, ...all);

/** A button whose name tells it from those of the other rows. */
function button(name, about, action, className = "small") {
  const element = make("button", { type: "button", className }, name, hidden(` ${about}`));
  element.addEventListener("click", () => act(element, action));
  return element;
}

// A row is drawn anew only if its data changed, so focus and open details stay.
function show(name, items, keyOf, draw, total = items.length) {
  const list = $(`${name}-list`);
  const before = new Map([...list.children].map((row) => [row.dataset.key, row]));
  const rows = items.slice(0, SHOWN).map((item) => {
    const key = keyOf(item);
    const data = JSON.stringify(item);
    const old = before.get(key);
    if (old?.data === data) return old;
    const row = Object.assign(draw(item), { data });
    row.dataset.key = key;
    const details = row.querySelector("details");
    if (details) details.open = old?.querySelector("details")?.open ?? false;
    const place = [...(old?.querySelectorAll("button, a, summary") ?? [])].indexOf(document.activeElement);
    if (place >= 0) queueMicrotask(() => row.querySelectorAll("button, a, summary")[place]?.focus());
    return row;
  });
  const isSame = rows.length === list.children.length && rows.every((row, place) => row === list.children[place]);
  if (!isSame) list.replaceChildren(...rows);
  if ($(`${name}-count`)) $(`${name}-count`).textContent = total;
  if ($(`${name}-none`)) $(`${name}-none`).hidden = items.length > 0;
}

// -- What a row shows -------------------------------------------------------------------------

function user({ user_id, login_ids, name, email, phone, roles, methods }) {
  const [login] = login_ids;
  const reach = [email, phone].filter((address) => address && !login_ids.includes(address));
  const others = [...login_ids.slice(1), ...reach];
  return make(
    "li",
    {},
    make(
      "div",
      { className: "what" },
      make("strong", {}, login),
      make("span", { className: "quiet" }, [name, ...others].filter(Boolean).join(" · ") || user_id),
      badges(...roles.map((role) => badge(role, "warn")), ...methods.map((method) => badge(method))),
    ),
    make(
      "div",
      { className: "buttons" },
      button("Sign in", login, async () => signed(await call("sign-in", { login_id: login }), `${login} is signed in.`)),
      button("Step up", login, async () =>
        signed(await call("step-up", { login_id: login }), `${login} is signed in and stepped up.`),
      ),
    ),
  );
}

function message({ delivery, to, code, step_up, link, token, live }) {
  const kind = step_up ? "step-up" : "sign-in";
  const row = make(
    "li",
    { className: live ? "" : "is-over" },
    make(
      "div",
      { className: "what" },
      make("span", { className: "quiet" }, to),
      code ? make("strong", { className: "code" }, code) : make("strong", {}, link ? "Link" : "Message"),
      badges(badge(delivery), badge(kind, step_up ? "good" : ""), live ? null : badge("used or expired", "bad")),
    ),
  );
  const buttons = make("div", { className: "buttons" });
  if (live && code) buttons.append(button("Copy", `the code ${code}`, () => copy(code, "The code")));
  if (live && token) {
    const opened = async () => {
      const tokens = await call("links/open", { token });
      if (tokens.session_token) return signed(tokens, "The link was opened, and gave this session.");
      return "The link was opened. The page that waits goes on.";
    };
    buttons.append(button("Make it work", `, the link to ${to}`, opened));
    const isWeb = /^https?:/.test(link);
    const properties = { href: link, target: "_blank", rel: "noreferrer", className: "button small" };
    if (isWeb) buttons.append(make("a", properties, "Open", hidden(" the page of the link in a new tab")));
  }
  row.append(buttons);
  return row;
}

const STATES = { active: "good", expired: "warn", "logged out": "bad", revoked: "bad" };

function session({ login_id, state, claims }) {
  const time = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
  const isUp = claims.su === true;
  const factors = [claims.amr].flat().filter(Boolean).join(", ");
  return make(
    "li",
    {},
    make(
      "div",
      { className: "what" },
      make("strong", {}, login_id),
      make("span", { className: "quiet" }, `${factors} · token of ${time(claims.iat)}, until ${time(claims.exp)}`),
      badges(badge(state, STATES[state]), isUp ? badge("su: true", "good") : badge("no su")),
    ),
    make(
      "details",
      {},
      make("summary", {}, "Claims", hidden(` of ${login_id}, ${time(claims.iat)}`)),
      make("pre", { tabIndex: 0, role: "group", ariaLabel: `Claims of ${login_id}` }, JSON.stringify(claims, null, 2)),
    ),
  );
}

const request = ({ method, path }) => make("li", {}, badge(method), make("code", {}, path));

function key({ kid, place }) {
  return make("li", {}, make("code", {}, kid), place ? null : badge("signs", "good"));
}

// -- What a button does -----------------------------------------------------------------------

function say(text) {
  $("status").textContent = text;
  $("dismiss").hidden = !text;
  $("tray").classList.toggle("empty", !text);
}

function signed({ session_token, refresh_token }, text) {
  $("session-token").value = session_token;
  $("refresh-token").value = refresh_token;
  $("tokens").hidden = false;
  return text;
}

async function copy(text, what) {
  if (!navigator.clipboard) throw new Error("Browsers copy on loopback and by https only. Select the text instead.");
  await navigator.clipboard.writeText(text);
  return `${what} was copied.`;
}

/** Do what a button is for, say how it went, and look again. */
async function act(element, action) {
  if (element.ariaBusy === "true") return;
  element.ariaBusy = "true";
  try {
    $("tokens").hidden = !element.closest("#tokens");
    say(await action());
    if (!element.closest("#tokens, header")) await look();
  } catch (error) {
    say(error instanceof TypeError ? "The emulator does not answer." : error.message);
  } finally {
    element.ariaBusy = null;
  }
}

const pressed = (id, action) => $(id).addEventListener("click", ({ currentTarget }) => act(currentTarget, action));

/** The filled-in fields of a form. */
const filled = (form) => Object.fromEntries([...new FormData(form)].filter(([, value]) => value.trim()));

function submitted(id, action) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.submitter ?? event.target.querySelector("button"), () => action(event.target));
  });
}

submitted("make-form", async (form) => {
  const { roles, ...members } = filled(form);
  const named = roles?.split(",").map((role) => role.trim()).filter(Boolean);
  await call("users", { ...members, ...(named && { roles: named }) });
  form.reset();
  form.elements.login_id.focus();
  return `${members.login_id} was made.`;
});

submitted("fail-form", async (form) => {
  const { status, times, path, retry_after } = filled(form);
  const order = { status: Number(status), times: Number(times), path };
  await call("fail", retry_after ? { ...order, retry_after: Number(retry_after) } : order);
  const calls = order.times === 1 ? "The next call" : `The next ${order.times} calls`;
  return `${calls} to ${path}… will be answered ${status}.`;
});

pressed("rotate", async () => `New tokens are signed by ${(await call("keys/rotate", {})).kid}.`);
pressed("revoke", async () => `Every earlier token is void. ${(await call("keys/revoke", {})).kid} signs.`);
pressed("reset", async () => {
  await call("reset", {});
  return "Everything was removed.";
});
pressed("copy-project", () => copy($("project").textContent, "The project id"));
for (const element of document.querySelectorAll("[data-copy]")) {
  const field = $(element.dataset.copy);
  element.addEventListener("click", () => act(element, () => copy(field.value, "The token")));
}
$("dismiss").addEventListener("click", () => {
  $("tokens").hidden = true;
  say("");
  $("main").focus();
});

// -- Looking ----------------------------------------------------------------------------------

async function look() {
  const paths = ["users", "outbox", `sessions?last=${SHOWN}`, "keys", `requests?last=${SHOWN}`];
  const [{ users }, { messages }, began, { kids }, received] = await Promise.all(paths.map((path) => call(path)));
  const { sessions } = began;
  const { requests } = received;
  const numbered = (items, total = items.length) =>
    items.map((item, place) => ({ ...item, place: total - items.length + place })).reverse();
  show("users", users, ({ user_id }) => user_id, user);
  show("messages", numbered(messages), ({ place }) => `${place}`, message);
  show("sessions", numbered(sessions, began.total), ({ place }) => `${place}`, session, began.total);
  show("keys", kids.map((kid, place) => ({ kid, place })), ({ kid }) => kid, key);
  show("requests", numbered(requests, received.total).map(({ method, path, place }) => ({ method, path, place })), ({ place }) => `${place}`, request, received.total);
  const kept = kids.length - 1;
  $("keys-kept").textContent = kept ? `Tokens of the ${kept === 1 ? "other" : `${kept} others`} still verify.` : "";
}

async function watch() {
  if (!document.hidden) {
    try {
      if ($("project").textContent === "…") {
        const [{ project_id }, { users }] = await Promise.all([call("project"), call("users")]);
        $("make").open = users.length === 0;
        $("project").textContent = project_id;
      }
      await look();
      $("lost").hidden = true;
    } catch {
      $("lost").hidden = false;
    }
  }
  setTimeout(watch, INTERVAL);
}

document.addEventListener("visibilitychange", () => document.hidden || look().catch(() => {}));
watch();
