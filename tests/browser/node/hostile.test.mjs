// The dialog and answers that are no use: it shows words, and can always be left.
import assert from "node:assert/strict";
import { test } from "node:test";
import { User, answers, refusal, status } from "./browser.mjs";

const leave = async (user) => {
  await user.page.keyboard.press("Escape");
  await user.page.waitForFunction(() => !document.querySelector("step-up-dialog"));
  return user.outcome();
};

test("codes that are names in JavaScript are codes like others", async (t) => {
  const names = ["constructor", "__proto__", "toString", "hasOwnProperty", "valueOf"];
  const replies = names.map((code) => ({ status: 400, code, detail: `Not ${code}.` }));
  const user = await User.open(t, {
    mocks: answers(["email"], { "/step-up/otp/verify": replies }),
  });
  await user.pay();
  await user.input.fill("123456");
  for (const code of names) {
    await user.button("Confirm").click();
    await user.alert.getByText(`Not ${code}.`, { exact: true }).waitFor();
  }
  assert.equal(await leave(user), "StepUpCancelled: cancelled");
  assert.deepEqual(user.problems, []);
});

const hostile = { toString: 1, valueOf: 1 };
for (const [name, more] of [
  ["a code that is an object", { status: 400, code: hostile }],
  ["a detail that is an object", { status: 400, code: "news", detail: hostile }],
  ["null", null],
  ["a number", 7],
  ["a list", []],
]) {
  test(`a code is asked for again after ${name}`, async (t) => {
    const user = await User.open(t, { mocks: answers(["email"]) });
    await user.page.route("**/step-up/otp/verify", (route) =>
      route.fulfill({ status: more?.status ?? 200, json: more }),
    );
    await user.pay();
    await user.input.fill("123456");
    await user.button("Confirm").click();
    await user.alert.getByText("That did not work. Try again.").waitFor();
    assert.equal(await leave(user), "StepUpCancelled: cancelled");
    assert.deepEqual(user.problems, []);
  });
}

for (const [name, code, enroll_uri, links] of [
  ["no URI", "no_step_up_method", "http://[", 0],
  ["an object for a URI", "no_step_up_method", hostile, 0],
  ["a script", "no_step_up_method", "javascript:alert(1)", 0],
  ["a page", "subject_mismatch", "https://shop.example/account", 1],
]) {
  test(`an end with ${name} can be left`, async (t) => {
    const start = { status: 403, code, detail: "The end.", enroll_uri };
    const user = await User.open(t, {
      mocks: answers(["email"], { "/step-up/otp/start": start }),
    });
    await user.pay();
    await user.button("Close").first().waitFor();
    await user.dialog.getByText(/The end|no way/).waitFor();
    assert.equal(await user.dialog.getByRole("link").count(), links);
    assert.equal(await leave(user), `StepUpFailed: ${code}`);
    assert.deepEqual(user.problems, []);
  });
}

for (const [name, answer] of [
  [
    "methods that are none",
    { ...status([]), methods: [null, 1, "email", { method: hostile }, {}] },
  ],
  ["methods that are an object", { ...status([]), methods: { method: "email" } }],
  [
    "destinations that are none",
    status(["email", "sms"], {
      methods: [
        { method: "email", destination: hostile },
        { method: "sms", destination: ["x"] },
      ],
    }),
  ],
]) {
  test(`a status with ${name} leaves a dialog that works or ends`, async (t) => {
    const user = await User.open(t, {
      mocks: answers(["email", "sms"], { "/step-up/status": answer }),
    });
    await user.pay();
    await user.button("Close").first().waitFor();
    assert.match(await leave(user), /^StepUp(Cancelled: cancelled|Failed: no_step_up_method)$/);
    assert.deepEqual(user.problems, []);
  });
}

test("a destination that is no text is left out", async (t) => {
  for (const destination of [null, hostile, undefined]) {
    const user = await User.open(t, {
      mocks: answers(["email"], { "/step-up/otp/start": { destination } }),
    });
    await user.pay();
    await user.input.waitFor();
    assert.match(await user.dialog.textContent(), /We sent a code to …\./);
    await user.context.close();
  }
});

test("waiting times that are no numbers do not stop the clock", async (t) => {
  const late = { status: 429, code: "too_many_attempts", headers: { "Retry-After": "1e9" } };
  const user = await User.open(t, {
    mocks: answers(["email"], { "/step-up/otp/verify": late }),
  });
  await user.pay();
  await user.input.fill("123456");
  await user.button("Confirm").click();
  await user.alert.getByText("Too many attempts. Try again in 60 s.").waitFor();
});

test("options of a passkey that are none are no end", async (t) => {
  for (const options of [null, 1, { challenge: "%" }, { challenge: {} }]) {
    const start = { transaction_id: "t", options };
    const user = await User.open(t, {
      mocks: answers(["passkey"], { "/step-up/passkey/start": start }),
    });
    await user.pay();
    await user.button("Use my passkey").click();
    await user.alert.getByText("The passkey was not used. Try again.").waitFor();
    assert.equal(await leave(user), "StepUpCancelled: cancelled");
    await user.context.close();
  }
});

test("a dialog of the page is closed when its prompt cannot go on", async (t) => {
  const user = await User.open(t, { mocks: answers(["email"], { "/pay": refusal(["email"]) }) });
  await user.page.evaluate(() => {
    const dialog = document.body.appendChild(document.createElement("step-up-dialog"));
    dialog.texts = { code: 1 };
  });
  await user.pay();
  await user.dialog.waitFor();
  await user.page.keyboard.press("Escape");
  await user.outcome();
  assert.equal(await user.dialog.count(), 0);
});
