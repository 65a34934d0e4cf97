// Cookies of another account: a page cannot read them, and asks the server whose they are.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  SESSION,
  SITE,
  Server,
  answer,
  byEmail,
  challenge,
  held,
  problem,
  soon,
  stepup,
} from "./server.mjs";

globalThis.location = new URL(SITE);
const PAY = `${SITE}/pay`;
const POST = { method: "POST", body: "{}" };
const step_up = { ...problem().step_up, status_uri: "/step-up/status" };
const cookies = { ...SESSION, session_token: null };

// A server whose cookies are those of `now.subject`; each test changes it when it likes.
function shop(now, more) {
  let paid = false;
  return new Server({
    "/pay": () => (paid ? answer(200, now.subject) : challenge({ step_up })),
    "/step-up/status": () => answer(200, { signed_in: true, subject: now.subject }),
    "/step-up/otp/verify": () => {
      paid = true;
      return answer(200, { ...cookies, subject: now.subject });
    },
    ...more,
  });
}

test("the same account is repeated", async () => {
  const server = shop({ subject: "U-ann" });
  const response = await stepup.withStepUp(server.fetch, { prompt: byEmail })(PAY, POST);
  assert.equal(response.status, 200);
  assert.deepEqual(server.paths, [
    "/pay",
    "/step-up/status",
    "/step-up/otp/start",
    "/step-up/otp/verify",
    "/pay",
  ]);
});

for (const [name, prompt] of [
  ["a code", byEmail],
  ["a step-up that was finished elsewhere", async () => ({})],
]) {
  test(`another tab signed another user in: ${name}`, async () => {
    const now = { subject: "U-ann" };
    const server = shop(now);
    const switched = async (steps) => {
      await soon();
      now.subject = "U-bob";
      return prompt(steps);
    };
    const call = stepup.withStepUp(server.fetch, { prompt: switched });
    await assert.rejects(call(PAY, POST), { name: "StepUpFailed", code: "subject_mismatch" });
    assert.equal(server.paths.filter((path) => path === "/pay").length, 1);
  });
}

test("a server that cannot say whose they are now is no proof", async () => {
  const answers = [answer(200, { signed_in: true, subject: "U-ann" }), answer(503, {})];
  const server = shop({}, { "/step-up/status": () => answers.shift() });
  const call = stepup.withStepUp(server.fetch, { prompt: async () => ({}) });
  await assert.rejects(call(PAY, POST), { code: "subject_mismatch" });
});

test("a server that never says is believed", async () => {
  const server = shop({}, { "/step-up/status": () => answer(503, {}) });
  const call = stepup.withStepUp(server.fetch, { prompt: byEmail });
  assert.equal((await call(PAY, POST)).status, 200);
});

test("the account is that of the refusal, also where its dialog has to wait", async () => {
  const now = { subject: "U-ann" };
  const { prompt, opened } = held();
  const server = shop(now, { "/refund": () => challenge({ step_up, amr: ["sms"] }) });
  const call = stepup.withStepUp(server.fetch, { prompt });
  const first = call(PAY, POST).catch((error) => error.code);
  await soon();
  const second = call(`${SITE}/refund`, POST).catch((error) => error.code);
  await soon();
  now.subject = "U-bob";
  opened[0].settle(null);
  await soon();
  opened[1].settle({ ...cookies, subject: "U-bob" });
  assert.deepEqual(await Promise.all([first, second]), ["cancelled", "subject_mismatch"]);
});

test("the prompt gets the account that was asked for, and later ones anew", async () => {
  const server = shop({ subject: "U-ann" });
  const seen = [];
  const prompt = async ({ status, ...steps }) => {
    for (let n = 0; n < 2; n++) seen.push((await status()).subject);
    return byEmail(steps);
  };
  await stepup.withStepUp(server.fetch, { prompt })(PAY, POST);
  assert.deepEqual(seen, ["U-ann", "U-ann"]);
  assert.equal(server.paths.filter((path) => path === "/step-up/status").length, 2);
});
