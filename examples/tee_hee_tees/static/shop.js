// The checkout in place: order, read the challenge, ask for the code, order once more.

const TRACE = "tee-hee-tees.trace";
const SIGN_IN_AGAIN = ["unauthenticated", "invalid_token", "refresh_token_required"];
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

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { Accept: "application/json", ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
  });
  const reply = await response.json().catch(() => ({}));
  const entry = {
    request: `POST ${path}`,
    status: `${response.status} ${response.statusText}`.trim(),
    challenge: response.headers.get("WWW-Authenticate"),
    reply,
  };
  sessionStorage.setItem(TRACE, JSON.stringify([...conversation(), entry]));
  showConversation();
  if (SIGN_IN_AGAIN.includes(reply.code)) {
    location.assign("/sign-in?next=cart");
    await new Promise(() => {}); // the page is on its way out
  }
  return { ok: response.ok, entry, reply, retryAfter: response.headers.get("Retry-After") };
}

// -- The demo inbox; there is none on real Descope ------------------------------------------

async function refreshInbox() {
  const boxes = document.querySelectorAll("[data-inbox]");
  if (!boxes.length) return;
  const response = await fetch("/inbox");
  if (!response.ok) return;
  const list = await response.text(); // rendered and escaped by the server
  for (const box of boxes) box.innerHTML = list;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-use-code]");
  const field = $("dialog[open] input.code") ?? $("input.code");
  if (!button || !field) return;
  field.value = button.dataset.useCode;
  field.focus();
});

// -- Step-up --------------------------------------------------------------------------------

const dialog = $("#step-up");

/** Ask for a code until it is right (true) or the person gives up (false). */
function stepUp({ entry, reply }) {
  const [form, field, error, sent] = ["form", "input.code", "[data-error]", "[data-sent]"].map((part) => $(part, dialog));
  const { start_uri: start, verify_uri: verify } = reply.step_up;
  const delivery = "email";

  const over = new AbortController(); // an answer that comes after the end changes nothing
  const complain = (text) => {
    if (over.signal.aborted) return;
    error.textContent = text;
    field.setAttribute("aria-invalid", String(Boolean(text)));
    if (text) field.select();
  };
  const sorry = ({ reply: problem, retryAfter }) =>
    [problem.detail ?? "Something went wrong. Please try again.", retryAfter && `(${retryAfter} seconds)`].filter(Boolean).join(" ");

  const busy = async (work) => {
    const buttons = dialog.querySelectorAll("button:not([data-cancel])");
    for (const button of buttons) button.disabled = true;
    try {
      return await work();
    } catch {
      complain("The shop cannot be reached. Check your connection and try again.");
    } finally {
      for (const button of buttons) button.disabled = false;
      if (dialog.open) field.focus();
    }
  };

  const send = () =>
    busy(async () => {
      complain("");
      const answer = await post(start, { delivery });
      sent.textContent = answer.ok ? `We sent a code to ${answer.reply.destination}.` : "No code was sent.";
      if (!answer.ok) complain(sorry(answer));
      await refreshInbox();
    });

  return new Promise((resolve) => {
    const on = (target, type, listener) => target.addEventListener(type, listener, { signal: over.signal });
    const finish = (proven) => {
      if (over.signal.aborted) return;
      over.abort();
      dialog.close();
      resolve(proven);
    };
    on($("[data-resend]", dialog), "click", send);
    on($("[data-cancel]", dialog), "click", () => finish(false));
    on(dialog, "cancel", () => finish(false));
    on(form, "submit", (event) => {
      event.preventDefault();
      const code = field.value.replaceAll(/\s/g, "");
      if (!/^\d{6}$/.test(code)) {
        complain("Type the six digits of the code.");
        return;
      }
      busy(async () => {
        const answer = await post(verify, { delivery, code });
        if (answer.ok) finish(true);
        else complain(sorry(answer));
      });
    });
    field.value = "";
    sent.textContent = "Asking for a code…";
    $("[data-challenge]", dialog).textContent = wordForWord(entry);
    dialog.showModal();
    field.focus();
    send();
  });
}

async function order() {
  let answer = await post("/checkout");
  if (answer.reply.code === "insufficient_user_authentication") {
    if (!(await stepUp(answer))) return "Nothing was ordered. Your cart is as you left it.";
    answer = await post("/checkout");
  }
  if (!answer.ok) return answer.reply.detail ?? "The order could not be placed. Please try again.";
  location.assign(answer.reply.url);
  return "Order placed. Fetching your receipt…";
}

const checkout = $("[data-checkout]");
checkout?.addEventListener("click", async () => {
  const status = $("[data-checkout-status]");
  checkout.disabled = true;
  status.textContent = "";
  sessionStorage.removeItem(TRACE);
  try {
    status.textContent = await order();
  } catch {
    status.textContent = "The shop cannot be reached. Check your connection and try again.";
  } finally {
    checkout.disabled = false;
    checkout.focus();
  }
});

showConversation();
