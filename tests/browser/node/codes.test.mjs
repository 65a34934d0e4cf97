// The dialog: codes, their refusals, and the ends of a step-up.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SESSION, User, answers, refusal, status } from "./browser.mjs";

test("the code is taken from what is pasted", async (t) => {
  const permissions = ["clipboard-read", "clipboard-write"];
  const user = await User.open(t, { mocks: answers(["email"]), permissions });
  await user.pay();
  for (const [pasted, code] of [
    ["123456", "123456"],
    ["Your code is 123 456. It is valid for 10 minutes.", "123456"],
    ["123-456\n", "123456"],
    ["１２３４５６", "123456"],
    ["12a3", "123"],
  ]) {
    await user.input.fill("");
    await user.page.evaluate((text) => navigator.clipboard.writeText(text), pasted);
    await user.input.press("Control+V");
    assert.equal(await user.input.inputValue(), code, pasted);
  }
});

test("the code can be typed, and is filled in by the device", async (t) => {
  const user = await User.open(t, { mocks: answers(["email"]) });
  await user.pay();
  await user.input.pressSequentially("12x3456");
  assert.equal(await user.input.inputValue(), "123456");
  const hints = await user.input.evaluate(({ autocomplete, inputMode }) => [
    autocomplete,
    inputMode,
  ]);
  assert.deepEqual(hints, ["one-time-code", "numeric"]);
  await user.input.press("Enter");
  assert.equal(await user.outcome(), "Paid.");
  assert.deepEqual(user.bodies["/step-up/otp/verify"], [{ delivery: "email", code: "123456" }]);
});

test("a new code can be had after half a minute", async (t) => {
  const user = await User.open(t, { mocks: answers(["email"]) });
  await user.page.clock.install();
  await user.pay();
  await user.input.waitFor();
  const again = user.button("Send again in 30 s");
  assert.equal(await again.getAttribute("aria-disabled"), "true");
  await again.click({ force: true });
  assert.equal(user.bodies["/step-up/otp/start"].length, 1);
  await user.page.clock.runFor(31000);
  await user.button("Send again").click();
  await user.dialog.getByText("We sent a new code to a**@example.com.").waitFor();
  assert.equal(user.bodies["/step-up/otp/start"].length, 2);
  assert.match(
    await user.dialog.getByRole("button", { name: /^Send again/ }).textContent(),
    /30 s/,
  );
});

test("refusals in words", async (t) => {
  const refusals = [
    ["otp_rejected", { detail: "That code is not right." }, "That code is not right."],
    ["otp_expired", { detail: "Expired." }, "Expired.", "Send again"],
    ["otp_exhausted", { detail: "Ask for a new code." }, "Ask for a new code.", "Send again"],
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
  const user = await User.open(t, {
    mocks: answers(["email"], { "/step-up/otp/verify": replies }),
  });
  await user.pay();
  await user.input.fill("123456");
  for (const [code, , words, again] of refusals) {
    await user.button("Confirm").click();
    await user.alert.getByText(words, { exact: true }).waitFor();
    if (again) await user.dialog.getByRole("button", { name: again, exact: true }).waitFor();
    if (again instanceof RegExp) assert.deepEqual(await user.inspect(code), []);
  }
  await user.button("Confirm").click();
  assert.equal(await user.outcome(), "Paid.");
});

test("a code that cannot be sent leaves the choice", async (t) => {
  const refused = { status: 400, code: "delivery_unavailable", detail: "Not this way." };
  const user = await User.open(t, {
    mocks: answers(["email", "sms"], { "/step-up/otp/start": refused }),
  });
  await user.pay();
  await user.method("Text me a code").click();
  await user.alert.getByText("Not this way.").waitFor();
  await user.method("Email me a code").waitFor();
});

test("the end of it, in words", async (t) => {
  const ends = {
    invalid_token: "Your session has ended.",
    subject_mismatch: "That is another account.",
    refresh_token_required: "Sign in again to confirm it’s you.",
  };
  for (const [code, words] of Object.entries(ends)) {
    const refused = { status: 403, code, detail: words };
    const user = await User.open(t, {
      mocks: answers(["email"], { "/step-up/otp/start": refused }),
    });
    await user.pay();
    await user.dialog.getByText(words).waitFor();
    assert.equal(await user.dialog.getByRole("textbox").count(), 0);
    if (code === "invalid_token") assert.deepEqual(await user.inspect(code), []);
    await user.button("Close").first().click();
    assert.equal(await user.outcome(), `StepUpFailed: ${code}`);
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
    const user = await User.open(t, { mocks: answers(["email"], more) });
    await user.pay();
    const link = user.dialog.getByRole("link", { name: "Set one up" });
    assert.equal(await link.evaluate(({ href }) => new URL(href).pathname), "/account");
    await user.dialog.getByText("Your account has no way to confirm it’s you.").waitFor();
    assert.deepEqual(await user.inspect(`no-method-by-${name}`), []);
    await user.page.keyboard.press("Escape");
    assert.equal(await user.outcome(), "StepUpFailed: no_step_up_method");
  });
}

test("a link that runs a script is not shown", async (t) => {
  const more = { "/step-up/status": status([], { enroll_uri: "javascript:alert(1)" }) };
  const user = await User.open(t, { mocks: answers(["email"], more) });
  await user.pay();
  await user.dialog.getByText("no way").waitFor();
  assert.equal(await user.dialog.getByRole("link").count(), 0);
});

test("the button shows that a code is checked, and is pressed once", async (t) => {
  const user = await User.open(t, { mocks: answers(["email"]) });
  await user.pay();
  await user.input.fill("123456");
  let release;
  const gate = new Promise((open) => (release = open));
  await user.page.route("**/step-up/otp/verify", async (route) => {
    await gate;
    await route.fallback();
  });
  const busy = () => user.button("Confirm").evaluate(({ ariaBusy }) => ariaBusy);
  assert.notEqual(await busy(), "true");
  await user.button("Confirm").click();
  assert.equal(await busy(), "true");
  const shown = (button) => getComputedStyle(button, "::after").content;
  assert.match(await user.button("Confirm").evaluate(shown), /…/);
  await user.button("Confirm").click();
  assert.deepEqual(await user.inspect("checking"), []);
  release();
  assert.equal(await user.outcome(), "Paid.");
  assert.equal(user.bodies["/step-up/otp/verify"].length, 1);
});

test("the button is free again after a wrong code", async (t) => {
  const wrong = { status: 400, code: "otp_rejected", detail: "No." };
  const user = await User.open(t, {
    mocks: answers(["email"], { "/step-up/otp/verify": [wrong, SESSION] }),
  });
  await user.pay();
  await user.input.fill("123456");
  await user.button("Confirm").click();
  await user.alert.getByText("No.").waitFor();
  assert.notEqual(await user.button("Confirm").evaluate(({ ariaBusy }) => ariaBusy), "true");
  await user.button("Confirm").click();
  assert.equal(await user.outcome(), "Paid.");
});

test("opened again, the dialog keeps the clock and the code that was sent", async (t) => {
  const user = await User.open(t, { mocks: answers(["email"], { "/pay": refusal(["email"]) }) });
  await user.page.clock.install();
  await user.pay();
  await user.input.waitFor();
  await user.page.clock.runFor(10000);
  await user.page.keyboard.press("Escape");
  assert.equal(await user.outcome(), "StepUpCancelled: cancelled");
  await user.pay();
  await user.dialog.getByText("We sent a code to a**@example.com.").waitFor();
  const again = user.dialog.getByRole("button", { name: /^Send again in (19|20) s$/ });
  await again.waitFor();
  assert.equal(user.bodies["/step-up/otp/start"].length, 1);
  await user.page.clock.runFor(21000);
  await user.button("Send again").click();
  await user.dialog.getByText("We sent a new code to").waitFor();
  assert.equal(user.bodies["/step-up/otp/start"].length, 2);
});

test("another way and back keeps the clock too; the clocks are one for each way", async (t) => {
  const user = await User.open(t, { mocks: answers(["email", "sms"]) });
  await user.byEmail();
  await user.button("Another way").click();
  await user.method("Text me a code").click();
  await user.input.waitFor();
  await user.button("Another way").click();
  await user.method("Email me a code").click();
  await user.input.waitFor();
  const deliveries = user.bodies["/step-up/otp/start"].map(({ delivery }) => delivery);
  assert.deepEqual(deliveries, ["email", "sms"]);
});

test("after a step-up the next one sends a code of its own", async (t) => {
  const user = await User.open(t, { mocks: answers(["email"], { "/pay": refusal(["email"]) }) });
  for (const count of [1, 2]) {
    await user.pay();
    await user.input.fill("123456");
    await user.button("Confirm").click();
    assert.equal(await user.outcome(), "Refused: 401");
    assert.equal(user.bodies["/step-up/otp/start"].length, count);
  }
});
