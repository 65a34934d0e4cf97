// The dialog: authenticator apps, links and passkeys.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SESSION, User, answers, emulator, refusal, status } from "./browser.mjs";

test("an authenticator app", async (t) => {
  const user = await User.open(t);
  const { code } = await emulator(`totp?login_id=${encodeURIComponent(user.login)}`);
  await user.pay();
  await user.method("Use my authenticator app").click();
  await user.dialog.getByText("Enter the code from your authenticator app.").waitFor();
  assert.equal(await user.dialog.getByText("Send again").count(), 0);
  assert.deepEqual(await user.inspect("totp"), []);
  await user.input.fill(code === "000000" ? "111111" : "000000");
  await user.input.press("Enter");
  await user.alert.getByText("That code is not right.").waitFor();
  await user.input.fill(code);
  await user.input.press("Enter");
  assert.equal(await user.outcome(), "Paid.");
});

test("a magic link that is opened in another tab", async (t) => {
  const user = await User.open(t);
  await user.pay();
  await user.dialog.getByRole("button", { name: /^Email me a link[^s]/ }).click();
  await user.dialog.getByText("Check your mail: open the link that we sent to a**@shop").waitFor();
  assert.deepEqual(await user.inspect("magiclink"), []);
  await user.button("I have opened it").click();
  await user.alert.getByText("Not confirmed yet. Open the link first.").waitFor();
  await user.openLink("magiclink");
  assert.equal(await user.outcome(), "Paid.");
  assert.deepEqual(user.problems, []);
});

test("a magic link, without a status to look at", async (t) => {
  const mocks = {
    "/pay": [refusal(["magiclink"], { status_uri: undefined }), {}],
    "/step-up/magiclink/start": { delivery: "email", destination: "a**@example.com" },
  };
  const user = await User.open(t, { mocks });
  await user.pay();
  await user.button("I have opened it").click();
  assert.equal(await user.outcome(), "Paid.");
  assert.deepEqual(user.bodies["/step-up/magiclink/start"], [{ delivery: "email" }]);
});

test("an enchanted link", async (t) => {
  const user = await User.open(t);
  await user.pay();
  await user.method("Email me links to pick from").click();
  const number = user.dialog.getByText(/^\d+$/);
  await number.waitFor();
  assert.deepEqual(await user.inspect("enchantedlink"), []);
  await user.button("I have opened it").click();
  await user.alert.getByText("Not confirmed yet. Open the link first.").waitFor();
  await user.openLink("enchantedlink");
  assert.equal(await user.outcome(), "Paid.");
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
  const user = await User.open(t, { mocks: answers(["enchantedlink"], more) });
  await user.page.clock.install();
  await user.pay();
  await user.dialog.getByText("42", { exact: true }).waitFor();
  for (let n = 0; n < 3; n++) {
    await user.page.clock.runFor(2500);
    while (user.bodies["/step-up/enchantedlink/poll"].length <= n)
      await user.page.clock.runFor(100);
  }
  assert.equal(await user.outcome(), "Paid.");
  assert.deepEqual(user.bodies["/step-up/enchantedlink/poll"][2], { pending_ref: "p" });
});

const grownOld = () => {
  delete PublicKeyCredential.parseRequestOptionsFromJSON;
  delete PublicKeyCredential.prototype.toJSON;
};
for (const [name, age] of [
  ["", () => {}],
  [" in a browser without its JSON", grownOld],
]) {
  test(`a passkey${name}`, async (t) => {
    const user = await User.open(t);
    await user.addPasskey();
    await user.page.evaluate(age);
    await user.pay();
    await user.method("Use my passkey").click();
    await user.dialog.getByText("Your device asks").waitFor();
    if (!name) assert.deepEqual(await user.inspect("passkey"), []);
    await user.button("Use my passkey").click();
    assert.equal(await user.outcome(), "Paid.");
    assert.deepEqual(user.problems, []);
  });
}

test("a passkey that is not used", async (t) => {
  const more = {
    "/step-up/passkey/start": {
      transaction_id: "t1",
      options: { challenge: "AAAA", rpId: "example.net" },
    },
  };
  const user = await User.open(t, { mocks: answers(["passkey", "email"], more) });
  await user.pay();
  await user.method("Use my passkey").click();
  await user.button("Use my passkey").click();
  await user.alert.getByText("The passkey was not used. Try again.").waitFor();
  await user.button("Another way").click();
  await user.method("Email me a code").click();
  await user.input.fill("123456");
  await user.button("Confirm").click();
  assert.equal(await user.outcome(), "Paid.");
});

test("another way is open while a passkey is waited for", async (t) => {
  const start = { transaction_id: "t1", options: { challenge: "AAAA", rpId: "localhost" } };
  const user = await User.open(t, {
    mocks: answers(["passkey", "email"], { "/step-up/passkey/start": start }),
  });
  await user.pay();
  await user.method("Use my passkey").click();
  await user.page.evaluate(() => {
    // A device that shows its prompt and waits.
    navigator.credentials.get = ({ signal }) =>
      new Promise((_, fail) => (signal.onabort = () => fail(signal.reason)));
  });
  await user.button("Use my passkey").click();
  assert.deepEqual(await user.inspect("passkey-asked"), []);
  await user.button("Another way").click();
  await user.method("Email me a code").click();
  await user.input.fill("123456");
  await user.button("Confirm").click();
  assert.equal(await user.outcome(), "Paid.");
});

test("a browser without passkeys does not offer any", async (t) => {
  const init = () => delete window.PublicKeyCredential;
  const user = await User.open(t, { mocks: answers(["email", "passkey"]), init });
  await user.pay();
  await user.input.waitFor();
});
