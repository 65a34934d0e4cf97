// The dialog: what a user sees, hears and presses, in each of its states.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SESSION, SITE, Stage, emulator, refusal, status } from "./stage.mjs";

const ALL = ["email", "sms", "totp", "passkey", "magiclink", "enchantedlink"];
const answers = (methods, more) => ({
  "/pay": [refusal(methods), {}],
  "/step-up/status": status(methods),
  "/step-up/otp/start": { delivery: "email", destination: "a**@example.com" },
  "/step-up/otp/verify": SESSION,
  ...more,
});

test("checkout with a wrong code, a new code and the right one", async (t) => {
  const stage = await Stage.set(t);
  await stage.byEmail();
  const sent = await stage.dialog.getByText("We sent a code to").textContent();
  assert.match(sent, /^We sent a code to a\*\*@shop\d+\.example\.com\.$/);
  assert.deepEqual(await stage.inspect("code"), []);

  const right = await stage.code();
  await stage.input.fill(right === "000000" ? "111111" : "000000");
  await stage.input.press("Enter");
  await stage.alert.getByText("That code is not right. Check it and try again.").waitFor();
  assert.equal(await stage.input.getAttribute("aria-invalid"), "true");
  assert.equal(await stage.focused(), "code");
  assert.deepEqual(await stage.inspect("wrong-code"), []);

  await stage.input.fill(await stage.code());
  await stage.button("Confirm").click();
  assert.equal(await stage.outcome(), "Paid.");
  assert.equal(await stage.dialog.count(), 0);
  assert.deepEqual(stage.posts, [
    "/pay",
    "/step-up/status",
    "/step-up/otp/start",
    "/step-up/otp/verify",
    "/step-up/otp/verify",
    "/pay",
  ]);

  await stage.pay();
  assert.equal(await stage.outcome(), "Paid.");
  assert.equal(stage.posts.length, 7);
  assert.deepEqual(stage.problems, []);
});

test("nothing is loaded but the script itself", async (t) => {
  const stage = await Stage.set(t);
  await stage.byEmail();
  const loaded = stage.requests.filter((one) => one.startsWith("GET ") && !one.includes("/site/"));
  assert.deepEqual([...new Set(loaded)].sort(), ["GET /", "GET /step-up/stepup.js"]);
});

test("the keyboard does it all, stays inside, and comes back", async (t) => {
  const stage = await Stage.set(t, { mocks: answers(["email", "sms"]) });
  await stage.page.getByRole("button", { name: "Pay" }).focus();
  await stage.page.keyboard.press("Enter");
  await stage.dialog.waitFor();
  assert.equal(await stage.focused(), "Email me a codea**@example.com");
  await stage.page.keyboard.press("Tab");
  assert.equal(await stage.focused(), "Text me a code+49*****89");
  await stage.page.keyboard.press("Tab");
  assert.equal(await stage.focused(), "Close");
  for (let n = 0; n < 6; n++) {
    await stage.page.keyboard.press("Tab");
    assert.ok(!(await stage.focused()).startsWith("Pay"), "The page behind is out of reach.");
  }
  await stage.method("Text me a code").focus();
  await stage.page.keyboard.press("Enter");
  await stage.input.waitFor();
  assert.equal(await stage.focused(), "code");
  await stage.page.keyboard.press("Escape");
  assert.equal(await stage.outcome(), "StepUpCancelled: cancelled");
  assert.equal(await stage.focused(), "pay");
});

test("cancelled by its button", async (t) => {
  const stage = await Stage.set(t);
  await stage.byEmail();
  await stage.button("Close").click();
  assert.equal(await stage.outcome(), "StepUpCancelled: cancelled");
  assert.equal(await stage.focused(), "pay");
  assert.deepEqual(stage.posts, ["/pay", "/step-up/status", "/step-up/otp/start"]);
});

test("a screen reader is told what the dialog is and what happens in it", async (t) => {
  const stage = await Stage.set(t, { mocks: answers(["email", "sms"]) });
  await stage.pay();
  await stage.dialog.waitFor();
  const seen = () =>
    stage.page.locator("step-up-dialog").evaluate((host) => {
      const find = (selector) => host.shadowRoot.querySelector(selector);
      const text = (ids) =>
        ids
          .split(" ")
          .map((id) => find(`#${id}`).textContent)
          .join("|");
      const dialog = find("dialog");
      return {
        name: text(dialog.getAttribute("aria-labelledby")),
        described: text(dialog.getAttribute("aria-describedby")),
        polite: find("[aria-live=polite]").textContent,
        code: find("input") && text(find("input").getAttribute("aria-describedby")),
      };
    });
  const question = "How would you like to confirm?";
  assert.deepEqual(await seen(), {
    name: "Confirm it’s you",
    described: question,
    polite: question,
    code: null,
  });
  await stage.method("Email me a code").click();
  await stage.input.waitFor();
  await stage.button("Confirm").click();
  await stage.alert.getByText("Enter all 6 digits.").waitFor();
  const sent = "We sent a code to a**@example.com.";
  assert.deepEqual(await seen(), {
    name: "Confirm it’s you",
    described: sent,
    polite: sent,
    code: `${sent}|Enter all 6 digits.`,
  });
});

test("choosing a method, and another one", async (t) => {
  const stage = await Stage.set(t, { mocks: answers(ALL) });
  await stage.pay();
  await stage.dialog.waitFor();
  assert.deepEqual(await stage.dialog.getByRole("button").allTextContents(), [
    "Email me a codea**@example.com",
    "Text me a code+49*****89",
    "Use my authenticator app",
    "Use my passkey",
    "Email me a linka**@example.com",
    "Email me links to pick from",
    "×",
  ]);
  assert.deepEqual(await stage.inspect("choose"), []);
  await stage.method("Use my authenticator app").click();
  await stage.button("Another way").click();
  await stage.method("Text me a code").click();
  await stage.input.waitFor();
  assert.deepEqual(stage.bodies["/step-up/otp/start"], [{ delivery: "sms" }]);
});

test("one method alone is not asked about", async (t) => {
  const stage = await Stage.set(t, { mocks: answers(["email"]) });
  await stage.pay();
  await stage.input.waitFor();
  assert.equal(await stage.button("Another way").count(), 0);
});

test("what the user has not got is not offered", async (t) => {
  const stage = await Stage.set(t, {
    mocks: { ...answers(ALL), "/step-up/status": status(["sms", "totp", "oauth"]) },
  });
  await stage.pay();
  await stage.dialog.waitFor();
  assert.equal(await stage.dialog.getByRole("button").count(), 3);
});

test("a slow status shows the dialog all the same", async (t) => {
  const stage = await Stage.set(t, { mocks: answers(["email", "sms"]) });
  let release;
  const gate = new Promise((open) => (release = open));
  await stage.page.route("**/step-up/status", async (route) => {
    await gate;
    await route.fallback();
  });
  await stage.pay();
  await stage.dialog.waitFor();
  assert.equal(await stage.dialog.getByRole("button").count(), 1);
  assert.deepEqual(await stage.inspect("waiting"), []);
  release();
  await stage.method("Email me a code").waitFor();
});

test("the code is taken from what is pasted", async (t) => {
  const permissions = ["clipboard-read", "clipboard-write"];
  const stage = await Stage.set(t, { mocks: answers(["email"]), permissions });
  await stage.pay();
  for (const [pasted, code] of [
    ["123456", "123456"],
    ["Your code is 123 456. It is valid for 10 minutes.", "123456"],
    ["123-456\n", "123456"],
    ["１２３４５６", "123456"],
    ["12a3", "123"],
  ]) {
    await stage.input.fill("");
    await stage.page.evaluate((text) => navigator.clipboard.writeText(text), pasted);
    await stage.input.press("Control+V");
    assert.equal(await stage.input.inputValue(), code, pasted);
  }
});

test("the code can be typed, and is filled in by the device", async (t) => {
  const stage = await Stage.set(t, { mocks: answers(["email"]) });
  await stage.pay();
  await stage.input.pressSequentially("12x3456");
  assert.equal(await stage.input.inputValue(), "123456");
  const hints = await stage.input.evaluate(({ autocomplete, inputMode }) => [
    autocomplete,
    inputMode,
  ]);
  assert.deepEqual(hints, ["one-time-code", "numeric"]);
  await stage.input.press("Enter");
  assert.equal(await stage.outcome(), "Paid.");
  assert.deepEqual(stage.bodies["/step-up/otp/verify"], [{ delivery: "email", code: "123456" }]);
});

test("a new code can be had after half a minute", async (t) => {
  const stage = await Stage.set(t, { mocks: answers(["email"]) });
  await stage.page.clock.install();
  await stage.pay();
  await stage.input.waitFor();
  const again = stage.button("Send again in 30 s");
  assert.equal(await again.getAttribute("aria-disabled"), "true");
  await again.click({ force: true });
  assert.equal(stage.bodies["/step-up/otp/start"].length, 1);
  await stage.page.clock.runFor(31000);
  await stage.button("Send again").click();
  await stage.dialog.getByText("We sent a new code to a**@example.com.").waitFor();
  assert.equal(stage.bodies["/step-up/otp/start"].length, 2);
  assert.match(
    await stage.dialog.getByRole("button", { name: /^Send again/ }).textContent(),
    /30 s/,
  );
});

test("refusals in words", async (t) => {
  const refusals = [
    ["otp_rejected", { detail: "That code is not right." }, "That code is not right."],
    ["otp_expired", { detail: "Expired." }, "Expired.", "Send again"],
    ["descope_unavailable", { status: 503, detail: "Shortly." }, "Shortly."],
    ["news", {}, "That did not work. Try again."],
    ["too_many_attempts", { status: 429 }, "Too many attempts. Try again in 60 s."],
    [
      "too_many_attempts",
      { status: 429, headers: { "Retry-After": "420" } },
      "Too many attempts. Try again in 420 s.",
      /Send again in 4\d\d s/,
    ],
    ["abort", null, "No connection. Check your network and try again."],
  ];
  const verify = refusals.map(([code, members]) => members && { status: 400, code, ...members });
  const replies = [...verify.map((one) => one ?? "abort"), SESSION];
  const stage = await Stage.set(t, {
    mocks: answers(["email"], { "/step-up/otp/verify": replies }),
  });
  await stage.pay();
  await stage.input.fill("123456");
  for (const [code, , words, again] of refusals) {
    await stage.button("Confirm").click();
    await stage.alert.getByText(words, { exact: true }).waitFor();
    if (again) await stage.dialog.getByRole("button", { name: again, exact: true }).waitFor();
    if (again instanceof RegExp) assert.deepEqual(await stage.inspect(code), []);
  }
  await stage.button("Confirm").click();
  assert.equal(await stage.outcome(), "Paid.");
});

test("a code that cannot be sent leaves the choice", async (t) => {
  const refused = { status: 400, code: "delivery_unavailable", detail: "Not this way." };
  const stage = await Stage.set(t, {
    mocks: answers(["email", "sms"], { "/step-up/otp/start": refused }),
  });
  await stage.pay();
  await stage.method("Text me a code").click();
  await stage.alert.getByText("Not this way.").waitFor();
  await stage.method("Email me a code").waitFor();
});

test("the end of it, in words", async (t) => {
  const ends = {
    invalid_token: "Your session has ended.",
    subject_mismatch: "That is another account.",
    refresh_token_required: "Sign in again to confirm it’s you.",
  };
  for (const [code, words] of Object.entries(ends)) {
    const refused = { status: 403, code, detail: words };
    const stage = await Stage.set(t, {
      mocks: answers(["email"], { "/step-up/otp/start": refused }),
    });
    await stage.pay();
    await stage.dialog.getByText(words).waitFor();
    assert.equal(await stage.dialog.getByRole("textbox").count(), 0);
    if (code === "invalid_token") assert.deepEqual(await stage.inspect(code), []);
    await stage.button("Close").first().click();
    assert.equal(await stage.outcome(), `StepUpFailed: ${code}`);
  }
});

for (const [name, more] of [
  ["status", { "/step-up/status": status([], { enroll_uri: "/account" }) }],
  [
    "start",
    { "/step-up/otp/start": { status: 403, code: "no_step_up_method", enroll_uri: "/account" } },
  ],
]) {
  test(`a user without any method is shown where to get one, by the ${name} route`, async (t) => {
    const stage = await Stage.set(t, { mocks: answers(["email"], more) });
    await stage.pay();
    const link = stage.dialog.getByRole("link", { name: "Set one up" });
    assert.equal(await link.evaluate(({ href }) => new URL(href).pathname), "/account");
    await stage.dialog.getByText("Your account has no way to confirm it’s you.").waitFor();
    assert.deepEqual(await stage.inspect(`no-method-by-${name}`), []);
    await stage.page.keyboard.press("Escape");
    assert.equal(await stage.outcome(), "StepUpFailed: no_step_up_method");
  });
}

test("a link that runs a script is not shown", async (t) => {
  const more = { "/step-up/status": status([], { enroll_uri: "javascript:alert(1)" }) };
  const stage = await Stage.set(t, { mocks: answers(["email"], more) });
  await stage.pay();
  await stage.dialog.getByText("no way").waitFor();
  assert.equal(await stage.dialog.getByRole("link").count(), 0);
});

test("an authenticator app", async (t) => {
  const stage = await Stage.set(t);
  const { code } = await emulator(`totp?login_id=${encodeURIComponent(stage.login)}`);
  await stage.pay();
  await stage.method("Use my authenticator app").click();
  await stage.dialog.getByText("Enter the code from your authenticator app.").waitFor();
  assert.equal(await stage.dialog.getByText("Send again").count(), 0);
  assert.deepEqual(await stage.inspect("totp"), []);
  await stage.input.fill(code === "000000" ? "111111" : "000000");
  await stage.input.press("Enter");
  await stage.alert.getByText("That code is not right.").waitFor();
  await stage.input.fill(code);
  await stage.input.press("Enter");
  assert.equal(await stage.outcome(), "Paid.");
});

test("a magic link that is opened in another tab", async (t) => {
  const stage = await Stage.set(t);
  await stage.pay();
  await stage.dialog.getByRole("button", { name: /^Email me a link[^s]/ }).click();
  await stage.dialog.getByText("Check your mail: open the link that we sent to a**@shop").waitFor();
  assert.deepEqual(await stage.inspect("magiclink"), []);
  await stage.button("I have opened it").click();
  await stage.alert.getByText("Not confirmed yet. Open the link first.").waitFor();
  await stage.openLink("magiclink");
  assert.equal(await stage.outcome(), "Paid.");
  assert.deepEqual(stage.problems, []);
});

test("a magic link, without a status to look at", async (t) => {
  const mocks = {
    "/pay": [refusal(["magiclink"], { status_uri: undefined }), {}],
    "/step-up/magiclink/start": { delivery: "email", destination: "a**@example.com" },
  };
  const stage = await Stage.set(t, { mocks });
  await stage.pay();
  await stage.button("I have opened it").click();
  assert.equal(await stage.outcome(), "Paid.");
  assert.deepEqual(stage.bodies["/step-up/magiclink/start"], [{ delivery: "email" }]);
});

test("an enchanted link", async (t) => {
  const stage = await Stage.set(t);
  await stage.pay();
  await stage.method("Email me links to pick from").click();
  const number = stage.dialog.getByText(/^\d+$/);
  await number.waitFor();
  assert.deepEqual(await stage.inspect("enchantedlink"), []);
  await stage.button("I have opened it").click();
  await stage.alert.getByText("Not confirmed yet. Open the link first.").waitFor();
  await stage.openLink("enchantedlink");
  assert.equal(await stage.outcome(), "Paid.");
});

test("an enchanted link, while the network comes and goes", async (t) => {
  const more = {
    "/step-up/enchantedlink/start": {
      pending_ref: "p",
      link_id: "42",
      destination: "a**@example.com",
    },
    "/step-up/enchantedlink/poll": ["abort", { status: 202 }, SESSION],
  };
  const stage = await Stage.set(t, { mocks: answers(["enchantedlink"], more) });
  await stage.page.clock.install();
  await stage.pay();
  await stage.dialog.getByText("42", { exact: true }).waitFor();
  for (let n = 0; n < 3; n++) {
    await stage.page.clock.runFor(2500);
    while (stage.bodies["/step-up/enchantedlink/poll"].length <= n)
      await stage.page.clock.runFor(100);
  }
  assert.equal(await stage.outcome(), "Paid.");
  assert.deepEqual(stage.bodies["/step-up/enchantedlink/poll"][2], { pending_ref: "p" });
});

// A passkey of this user, in a virtual device of the browser; the emulator checks what it signs.
async function enrol(stage) {
  const session = await stage.context.newCDPSession(stage.page);
  await session.send("WebAuthn.enable");
  await session.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  const start = { loginId: stage.login, origin: SITE };
  const { transactionId, options } = await stage.descope("webauthn/update/start", start);
  const response = await stage.page.evaluate(async (options) => {
    const { publicKey } = JSON.parse(options);
    const parsed = PublicKeyCredential.parseCreationOptionsFromJSON(publicKey);
    const credential = await navigator.credentials.create({ publicKey: parsed });
    return JSON.stringify(credential.toJSON());
  }, options);
  assert.deepEqual(await stage.descope("webauthn/update/finish", { transactionId, response }), {});
}

const grownOld = () => {
  delete PublicKeyCredential.parseRequestOptionsFromJSON;
  delete PublicKeyCredential.prototype.toJSON;
};
for (const [name, age] of [
  ["", () => {}],
  [" in a browser without its JSON", grownOld],
]) {
  test(`a passkey${name}`, async (t) => {
    const stage = await Stage.set(t);
    await enrol(stage);
    await stage.page.evaluate(age);
    await stage.pay();
    await stage.method("Use my passkey").click();
    await stage.dialog.getByText("Your device asks").waitFor();
    if (!name) assert.deepEqual(await stage.inspect("passkey"), []);
    await stage.button("Use my passkey").click();
    assert.equal(await stage.outcome(), "Paid.");
    assert.deepEqual(stage.problems, []);
  });
}

test("a passkey that is not used", async (t) => {
  const more = {
    "/step-up/passkey/start": {
      transaction_id: "t1",
      options: { challenge: "AAAA", rpId: "example.net" },
    },
  };
  const stage = await Stage.set(t, { mocks: answers(["passkey", "email"], more) });
  await stage.pay();
  await stage.method("Use my passkey").click();
  await stage.button("Use my passkey").click();
  await stage.alert.getByText("The passkey was not used. Try again.").waitFor();
  await stage.button("Another way").click();
  await stage.method("Email me a code").click();
  await stage.input.fill("123456");
  await stage.button("Confirm").click();
  assert.equal(await stage.outcome(), "Paid.");
});

test("another way is open while a passkey is waited for", async (t) => {
  const start = { transaction_id: "t1", options: { challenge: "AAAA", rpId: "localhost" } };
  const stage = await Stage.set(t, {
    mocks: answers(["passkey", "email"], { "/step-up/passkey/start": start }),
  });
  await stage.pay();
  await stage.method("Use my passkey").click();
  await stage.page.evaluate(() => {
    // A device that shows its prompt and waits.
    navigator.credentials.get = ({ signal }) =>
      new Promise((_, fail) => (signal.onabort = () => fail(signal.reason)));
  });
  await stage.button("Use my passkey").click();
  assert.deepEqual(await stage.inspect("passkey-asked"), []);
  await stage.button("Another way").click();
  await stage.method("Email me a code").click();
  await stage.input.fill("123456");
  await stage.button("Confirm").click();
  assert.equal(await stage.outcome(), "Paid.");
});

test("a browser without passkeys does not offer any", async (t) => {
  const init = () => delete window.PublicKeyCredential;
  const stage = await Stage.set(t, { mocks: answers(["email", "passkey"]), init });
  await stage.pay();
  await stage.input.waitFor();
});

test("texts of one's own", async (t) => {
  const more = {
    "/pay": refusal(["email"]),
    "/step-up/otp/verify": { status: 400, code: "otp_rejected", detail: "No." },
  };
  const stage = await Stage.set(t, { mocks: answers(["email"], more) });
  await stage.page.evaluate(() => {
    const { texts } = window.page.stepup.StepUpDialog;
    Object.assign(texts, {
      title: "Bist du es?",
      sent: "An {destination} gesendet.",
      code: "Code",
    });
    const dialog = document.body.appendChild(document.createElement("step-up-dialog"));
    dialog.lang = "de";
    dialog.texts = { confirm: "Bestätigen", otp_rejected: "Der Code stimmt nicht." };
  });
  await stage.pay();
  await stage.dialog.getByText("An a**@example.com gesendet.").waitFor();
  await stage.dialog.getByRole("heading", { name: "Bist du es?" }).waitFor();
  await stage.dialog.getByRole("textbox", { name: "Code" }).fill("123456");
  await stage.button("Bestätigen").click();
  await stage.alert.getByText("Der Code stimmt nicht.").waitFor();
  await stage.page.keyboard.press("Escape");
  assert.equal(await stage.outcome(), "StepUpCancelled: cancelled");
  assert.equal(
    await stage.page.locator("step-up-dialog").count(),
    1,
    "The page's own dialog stays.",
  );
  await stage.pay();
  await stage.dialog.waitFor();
});

test("a theme of one's own", async (t) => {
  const stage = await Stage.set(t, { mocks: answers(["email", "sms"]) });
  await stage.page.evaluate(() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`
      step-up-dialog { color-scheme: dark; --step-up-accent: #ffb454; --step-up-accent-text: #2b1a00;
        --step-up-radius: 4px; --step-up-surface: #241a10; --step-up-font: Georgia, serif }
      step-up-dialog::part(title) { text-transform: uppercase }`);
    document.adoptedStyleSheets = [sheet];
  });
  await stage.byEmail();
  const look = await stage.page.locator("step-up-dialog").evaluate((host) => {
    const style = (selector) => getComputedStyle(host.shadowRoot.querySelector(selector));
    return [
      style(".primary").backgroundColor,
      style("dialog").backgroundColor,
      style("h2").textTransform,
      style("input").borderRadius,
      style("#lead").color,
    ];
  });
  assert.deepEqual(look, [
    "rgb(255, 180, 84)",
    "rgb(36, 26, 16)",
    "uppercase",
    "4px",
    "rgb(170, 176, 192)",
  ]);
  assert.deepEqual(await stage.inspect("theme"), []);
});

test("nothing moves for those who want it so", async (t) => {
  for (const [reducedMotion, name] of [
    ["reduce", "none"],
    ["no-preference", "in"],
  ]) {
    const stage = await Stage.set(t, { mocks: answers(["email", "sms"]), reducedMotion });
    await stage.pay();
    const animation = (dialog) => getComputedStyle(dialog).animationName;
    assert.equal(await stage.dialog.evaluate(animation), name);
  }
});

test("the lock moves while an answer is waited for", async (t) => {
  const stage = await Stage.set(t, { mocks: answers(["email"]) });
  await stage.pay();
  await stage.input.fill("123456");
  let release;
  const gate = new Promise((open) => (release = open));
  await stage.page.route("**/step-up/otp/verify", async (route) => {
    await gate;
    await route.fallback();
  });
  await stage.button("Confirm").click();
  await stage.button("Confirm").click();
  const busy = () =>
    document.querySelector("step-up-dialog").shadowRoot.querySelector("dialog").className;
  assert.equal(await stage.page.evaluate(busy), "busy");
  release();
  assert.equal(await stage.outcome(), "Paid.");
  assert.equal(stage.bodies["/step-up/otp/verify"].length, 1, "Pressed twice, sent once.");
});

test("it works from right to left", async (t) => {
  const stage = await Stage.set(t, { mocks: answers(["email", "sms"]) });
  await stage.page.evaluate(() => (document.documentElement.dir = "rtl"));
  await stage.pay();
  await stage.dialog.waitFor();
  assert.deepEqual(await stage.inspect("right-to-left"), []);
});
