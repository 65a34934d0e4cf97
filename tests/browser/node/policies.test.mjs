// Policies that ask for more than one thing: what the dialog offers, and how often it asks.
import assert from "node:assert/strict";
import { test } from "node:test";
import { User, answers, emulator, refusal, status } from "./browser.mjs";

// The buttons of the first question.
async function offered(user) {
  await user.dialog.getByText("How would you like to confirm?").waitFor();
  return user.dialog.locator(".method b").allInnerTexts();
}

const paid = (user, path, body = {}) =>
  user.page.evaluate(
    async ([url, body]) => {
      try {
        const answer = await window.page.pay(url, { body: JSON.stringify(body) });
        return [answer.status, await answer.json()];
      } catch ({ code }) {
        return [code];
      }
    },
    [`/policies/${path}`, body],
  );

const problemOf = (user, path) =>
  user.page.evaluate(async (url) => {
    const answer = await fetch(url, { method: "POST" });
    return answer.json();
  }, `/policies/${path}`);

test("a router by code and a route by passkey ask once, and name both", async (t) => {
  const user = await User.open(t);
  await user.addPasskey();
  const { alternatives, max_age } = await problemOf(user, "both");
  assert.equal(max_age, 120);
  assert.deepEqual(
    alternatives.map(({ amr }) => amr),
    [[["email", "sms"], ["webauthn"]]],
  );
  const done = paid(user, "both");
  // The session was begun by a mail, so a passkey is all that it lacks.
  await user.button("Use my passkey").click();
  const [code, amr] = await done;
  assert.equal(code, 200);
  assert.deepEqual(amr.sort(), ["email", "mfa", "webauthn"]);
  const asked = user.posts.filter((path) => path.startsWith("/step-up/"));
  assert.deepEqual(asked, [
    "/step-up/status",
    "/step-up/passkey/start",
    "/step-up/passkey/finish",
  ]);
});

test("a policy of two alternatives offers the user's own methods for either", async (t) => {
  const user = await User.open(t);
  await emulator(`totp?login_id=${encodeURIComponent(user.login)}`);
  const alone = paid(user, "either");
  await user.dialog.getByText("Enter the code from your authenticator app.").waitFor();
  assert.equal(await user.button("Another way").count(), 0);
  await user.addPasskey();
  await user.page.keyboard.press("Escape");
  assert.deepEqual(await alone, ["cancelled"]);
  const done = paid(user, "either");
  assert.deepEqual(await offered(user), ["Use my passkey", "Use my authenticator app"]);
  assert.deepEqual(await user.inspect("alternatives"), []);
  await user.method("Use my authenticator app").click();
  await user.input.fill((await emulator(`totp?login_id=${encodeURIComponent(user.login)}`)).code);
  await user.button("Confirm").click();
  const [code, amr] = await done;
  assert.equal(code, 200);
  assert.ok(amr.includes("totp") && !amr.includes("webauthn"));
});

test("an amount over the limit opens the dialog, one under it does not", async (t) => {
  const user = await User.open(t);
  assert.deepEqual(await paid(user, "transfer", { amount: 50 }), [200, ["50", "email"]]);
  assert.deepEqual(user.posts, ["/policies/transfer"]);
  const done = paid(user, "transfer", { amount: 5000 });
  await user.method("Email me a code").click();
  await user.input.fill(await user.code());
  await user.button("Confirm").click();
  assert.deepEqual(await done, [200, ["5000", "email"]]);
});

test("the nearest alternative's methods come first", async (t) => {
  const unmet = [{ requirement: "step_up", reason: "missing" }];
  const alternatives = [["totp"], ["sms", "email"]].map((amr) => ({ unmet, amr }));
  const members = { amr: ["totp"], alternatives };
  const all = ["email", "sms", "totp"];
  const more = { "/pay": [{ ...refusal(all), ...members }, {}], "/step-up/status": status(all) };
  const user = await User.open(t, { mocks: answers(all, more) });
  await user.pay();
  assert.deepEqual(await offered(user), [
    "Use my authenticator app",
    "Email me a code",
    "Text me a code",
  ]);
});

for (const [name, methods, members] of [
  ["nothing that is offered proves", ["email", "sms"], { amr: ["webauthn"] }],
  ["nothing is mounted for", [], { amr: ["webauthn"] }],
]) {
  test(`a challenge that ${name} says so`, async (t) => {
    const more = { "/pay": { ...refusal(methods), ...members }, "/step-up/status": status(methods) };
    const user = await User.open(t, { mocks: answers(methods, more) });
    await user.pay();
    await user.dialog.getByText("Your account has no way to confirm it’s you.").waitFor();
    await user.button("Close").first().click();
    assert.equal(await user.outcome(), "StepUpFailed: no_step_up_method");
    assert.deepEqual(user.posts, ["/pay", "/step-up/status"]);
  });
}

test("a method that only the page knows is left to it", async (t) => {
  const user = await User.open(t, { mocks: answers(["oauth"], { "/pay": refusal(["oauth"]) }) });
  await user.pay();
  assert.equal(await user.outcome(), "Refused: 401");
  assert.equal(await user.dialog.count(), 0);
});
