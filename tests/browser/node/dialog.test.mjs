// The dialog: opening, choosing, closing, keyboard and screen reader.
import assert from "node:assert/strict";
import { test } from "node:test";
import { User, answers, status } from "./browser.mjs";

const ALL = ["email", "sms", "totp", "passkey", "magiclink", "enchantedlink"];

test("checkout with a wrong code, a new code and the right one", async (t) => {
  const user = await User.open(t);
  await user.byEmail();
  const sent = await user.dialog.getByText("We sent a code to").textContent();
  assert.match(sent, /^We sent a code to a\*\*@shop\d+\.example\.com\.$/);
  assert.deepEqual(await user.inspect("code"), []);

  const right = await user.code();
  await user.input.fill(right === "000000" ? "111111" : "000000");
  await user.input.press("Enter");
  await user.alert.getByText("That code is not right. Check it and try again.").waitFor();
  assert.equal(await user.input.getAttribute("aria-invalid"), "true");
  assert.equal(await user.focused(), "code");
  assert.deepEqual(await user.inspect("wrong-code"), []);

  await user.input.fill(await user.code());
  await user.button("Confirm").click();
  assert.equal(await user.outcome(), "Paid.");
  assert.equal(await user.dialog.count(), 0);
  assert.deepEqual(user.posts, [
    "/pay",
    "/step-up/status",
    "/step-up/otp/start",
    "/step-up/otp/verify",
    "/step-up/otp/verify",
    "/pay",
  ]);

  await user.pay();
  assert.equal(await user.outcome(), "Paid.");
  assert.equal(user.posts.length, 7);
  assert.deepEqual(user.problems, []);
});

test("nothing is loaded but the script itself", async (t) => {
  const user = await User.open(t);
  await user.byEmail();
  const loaded = user.requests.filter((one) => one.startsWith("GET ") && !one.includes("/site/"));
  assert.deepEqual([...new Set(loaded)].sort(), ["GET /", "GET /step-up/stepup.js"]);
});

test("the keyboard does it all, stays inside, and comes back", async (t) => {
  const user = await User.open(t, { mocks: answers(["email", "sms"]) });
  await user.page.getByRole("button", { name: "Pay" }).focus();
  await user.page.keyboard.press("Enter");
  await user.dialog.waitFor();
  assert.equal(await user.focused(), "Email me a codea**@example.com");
  await user.page.keyboard.press("Tab");
  assert.equal(await user.focused(), "Text me a code+49*****89");
  await user.page.keyboard.press("Tab");
  assert.equal(await user.focused(), "Close");
  for (let n = 0; n < 6; n++) {
    await user.page.keyboard.press("Tab");
    assert.ok(!(await user.focused()).startsWith("Pay"), "The page behind is out of reach.");
  }
  await user.method("Text me a code").focus();
  await user.page.keyboard.press("Enter");
  await user.input.waitFor();
  assert.equal(await user.focused(), "code");
  await user.page.keyboard.press("Escape");
  assert.equal(await user.outcome(), "StepUpCancelled: cancelled");
  assert.equal(await user.focused(), "pay");
});

test("cancelled by its button", async (t) => {
  const user = await User.open(t);
  await user.byEmail();
  await user.button("Close").click();
  assert.equal(await user.outcome(), "StepUpCancelled: cancelled");
  assert.equal(await user.focused(), "pay");
  assert.deepEqual(user.posts, ["/pay", "/step-up/status", "/step-up/otp/start"]);
});

test("a screen reader reads what the dialog is and what happens in it", async (t) => {
  const user = await User.open(t, { mocks: answers(["email", "sms"]) });
  await user.pay();
  await user.dialog.waitFor();
  const seen = () =>
    user.page.locator("step-up-dialog").evaluate((host) => {
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
  await user.method("Email me a code").click();
  await user.input.waitFor();
  await user.button("Confirm").click();
  await user.alert.getByText("Enter all 6 digits.").waitFor();
  const sent = "We sent a code to a**@example.com.";
  assert.deepEqual(await seen(), {
    name: "Confirm it’s you",
    described: sent,
    polite: sent,
    code: `${sent}|Enter all 6 digits.`,
  });
});

test("choosing a method, and another one", async (t) => {
  const user = await User.open(t, { mocks: answers(ALL) });
  await user.pay();
  await user.dialog.waitFor();
  assert.deepEqual(await user.dialog.getByRole("button").allTextContents(), [
    "Email me a codea**@example.com",
    "Text me a code+49*****89",
    "Use my authenticator app",
    "Use my passkey",
    "Email me a linka**@example.com",
    "Email me links to pick from",
    "×",
  ]);
  assert.deepEqual(await user.inspect("choose"), []);
  await user.method("Use my authenticator app").click();
  await user.button("Another way").click();
  await user.method("Text me a code").click();
  await user.input.waitFor();
  assert.deepEqual(user.bodies["/step-up/otp/start"], [{ delivery: "sms" }]);
});

test("one method alone is not asked about", async (t) => {
  const user = await User.open(t, { mocks: answers(["email"]) });
  await user.pay();
  await user.input.waitFor();
  assert.equal(await user.button("Another way").count(), 0);
});

test("what the user has not got is not offered", async (t) => {
  const user = await User.open(t, {
    mocks: { ...answers(ALL), "/step-up/status": status(["sms", "totp", "oauth"]) },
  });
  await user.pay();
  await user.dialog.waitFor();
  assert.equal(await user.dialog.getByRole("button").count(), 3);
});

test("a slow status shows the dialog all the same", async (t) => {
  const user = await User.open(t, { mocks: answers(["email", "sms"]) });
  let release;
  const gate = new Promise((open) => (release = open));
  await user.page.route("**/step-up/status", async (route) => {
    await gate;
    await route.fallback();
  });
  await user.pay();
  await user.dialog.waitFor();
  assert.equal(await user.dialog.getByRole("button").count(), 1);
  assert.deepEqual(await user.inspect("waiting"), []);
  release();
  await user.method("Email me a code").waitFor();
});

test("it works from right to left", async (t) => {
  const user = await User.open(t, { mocks: answers(["email", "sms"]) });
  await user.page.evaluate(() => (document.documentElement.dir = "rtl"));
  await user.pay();
  await user.dialog.waitFor();
  assert.deepEqual(await user.inspect("right-to-left"), []);
});

test("the lock moves while an answer is waited for", async (t) => {
  const user = await User.open(t, { mocks: answers(["email"]) });
  await user.pay();
  await user.input.fill("123456");
  let release;
  const gate = new Promise((open) => (release = open));
  await user.page.route("**/step-up/otp/verify", async (route) => {
    await gate;
    await route.fallback();
  });
  await user.button("Confirm").click();
  await user.button("Confirm").click();
  const busy = () =>
    document.querySelector("step-up-dialog").shadowRoot.querySelector("dialog").className;
  assert.equal(await user.page.evaluate(busy), "busy");
  release();
  assert.equal(await user.outcome(), "Paid.");
  assert.equal(user.bodies["/step-up/otp/verify"].length, 1, "Pressed twice, sent once.");
});
