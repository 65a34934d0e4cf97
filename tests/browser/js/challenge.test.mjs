import assert from "node:assert/strict";
import { test } from "node:test";
import { CODE, HEADER, SITE, Server, answer, challenge, problem, stepup } from "./server.mjs";

// The page is on the same origin.
globalThis.location = new URL(SITE);
const { parseChallenge, withStepUp } = stepup;

// The challenge that the prompt gets of the answer, or nothing when it is not asked.
async function seenIn(response, { url = `${SITE}/pay`, ...options } = {}) {
  let seen;
  const prompt = async ({ challenge }) => {
    seen = challenge;
  };
  const server = async () => response;
  const call = withStepUp(server, { prompt, ...options });
  const sent = call(url, { headers: { Authorization: "Bearer old" } });
  const outcome = await sent.catch((error) => error);
  return { seen, outcome };
}

for (const [name, field, expected] of [
  ["ours", HEADER, { realm: "P2", error_description: "Again, please" }],
  ["tokens", `bearer ERROR=${CODE},max_age=300`, { max_age: "300" }],
  ["after another", `Basic realm="a, b=\\"c\\"", ${HEADER}`, { realm: "P2" }],
  ["before another", `${HEADER}, DPoP algs="ES256 PS256"`, { realm: "P2" }],
  ["after a token68", `Negotiate a/b+c==, ${HEADER}`, { realm: "P2" }],
  ["escapes", `Bearer error="${CODE}", realm="a\\"b\\\\"`, { realm: 'a"b\\' }],
  ["first of two values", `Bearer error=${CODE}, max_age=1, max_age=2`, { max_age: "1" }],
  ["the right one of two", `Bearer error="invalid_token", ${HEADER}`, { realm: "P2" }],
]) {
  test(`the challenge is found: ${name}`, () => {
    for (const key in expected) assert.equal(parseChallenge(field)[key], expected[key]);
  });
}

for (const field of [
  null,
  "",
  "Bearer",
  'Bearer error="invalid_token"',
  `Basic error="${CODE}"`,
  `error="${CODE}"`,
  `Bearer realm="error=${CODE}"`,
  `Bearer realm="unclosed, error=${CODE}`,
]) {
  test(`there is no step-up challenge in ${field}`, () => {
    assert.equal(parseChallenge(field), undefined);
  });
}

test("a challenge of any length is read in a moment", () => {
  const long = `Bearer ${'a="\\"'.repeat(20000)}, ${" ,".repeat(20000)} x=${"y".repeat(50000)}`;
  const before = performance.now();
  parseChallenge(long);
  assert.ok(performance.now() - before < 500);
});

for (const [name, body] of [
  ["bare", problem({ max_age: 300, acr_values: ["urn:a"], amr: ["sms"] })],
  ["in detail", { detail: problem({ max_age: 300, acr_values: ["urn:a"], amr: ["sms"] }) }],
]) {
  test(`the body is enough: ${name}`, async () => {
    const { seen } = await seenIn(answer(401, body));
    assert.deepEqual(seen.unmet, [{ requirement: "step_up", reason: "missing" }]);
    assert.deepEqual([seen.maxAge, seen.acrValues, seen.amr], [300, ["urn:a"], ["sms"]]);
    assert.equal(seen.problem.detail, "Step up.");
  });
}

test("the header is enough for a prompt of the page", async () => {
  const header = `${HEADER}, max_age="60", acr_values="urn:a urn:b"`;
  const response = new Response("<h1>401</h1>", {
    status: 401,
    headers: { "WWW-Authenticate": header },
  });
  const { seen } = await seenIn(response);
  assert.deepEqual([seen.maxAge, seen.acrValues, seen.methods], [60, ["urn:a", "urn:b"], []]);
});

test("an unreadable max_age of the header is none", async () => {
  const header = { "WWW-Authenticate": `${HEADER}, max_age="-1"` };
  const { seen } = await seenIn(new Response(null, { status: 401, headers: header }));
  assert.equal(seen.maxAge, null);
});

test("only methods that this file handles and the server has mounted are offered", async () => {
  const { seen } = await seenIn(challenge());
  assert.deepEqual(seen.methods, ["email", "sms", "totp"]);
});

// The server of these offers email, sms and totp.
for (const [name, members, methods] of [
  ["one clause", { amr: ["sms", "totp"] }, ["sms", "totp"]],
  ["a word that no method proves", { amr: ["hwk"] }, []],
  ["a second factor", { amr: ["sms", "mfa"] }, ["email", "sms", "totp"]],
  ["any code", { amr: ["otp"] }, ["email", "sms", "totp"]],
  ["two alternatives", either(["webauthn"], ["totp"]), ["totp"]],
  ["the nearest first", either(["totp"], ["sms", "email"]), ["totp", "email", "sms"]],
  ["the same twice", either(["totp"], ["totp", "sms"]), ["totp", "sms"]],
  ["one that takes any step-up", either(["totp"], undefined), ["totp", "email", "sms"]],
  ["two clauses at once", either([["sms"], ["totp"]]), ["sms", "totp"]],
  ["alternatives that are none", { amr: ["sms"], alternatives: ["x", 1] }, ["sms"]],
  ["amr that is no list", { amr: "sms" }, ["email", "sms", "totp"]],
]) {
  test(`methods for ${name}`, async () => {
    const { seen } = await seenIn(challenge(members));
    assert.deepEqual(seen.methods, methods);
    assert.deepEqual(seen.amr, Array.isArray(members.amr) ? members.amr : []);
  });
}

function either(...all) {
  const unmet = [{ requirement: "step_up", reason: "missing" }];
  return { amr: all[0], alternatives: all.map((amr) => ({ unmet, max_age: 300, amr })) };
}

test("links prove that the mail was read", async () => {
  const uris = Object.fromEntries(
    ["magiclink", "enchantedlink"].map((name) => [name, { start_uri: "/start" }]),
  );
  const step_up = { methods: ["sms", ...Object.keys(uris)], uris, start_uri: "/otp/start" };
  const { seen } = await seenIn(challenge({ amr: ["email"], step_up }));
  assert.deepEqual(seen.methods, ["magiclink", "enchantedlink"]);
  assert.deepEqual((await seenIn(challenge({ amr: ["otp"], step_up }))).seen.methods, ["sms"]);
});

test("after a step-up that was not enough, an alternative is worth a try", async () => {
  const members = { unmet_after_step_up: true, ...either(["webauthn"], ["totp"]) };
  assert.deepEqual((await seenIn(challenge(members))).seen.methods, ["totp"]);
  const any = { unmet_after_step_up: true, ...either(["webauthn"], ["mfa"]) };
  assert.equal((await seenIn(challenge(any))).seen, undefined);
});

const elsewhere = { ...problem().step_up, status_uri: "https://evil.example/status" };
for (const [name, response, options] of [
  ["a success", answer(200, problem())],
  ["another status", answer(403, problem())],
  ["no challenge", answer(401, { code: "unauthenticated" }, { "WWW-Authenticate": "Bearer" })],
  ["a bad token", answer(401, { code: "invalid_token" })],
  ["no JSON", new Response("{", { status: 401, headers: { "Content-Type": "application/json" } })],
  ["JSON that is no object", answer(401, [null])],
  ["null for a detail", answer(401, { detail: null })],
  ["no body", answer(401)],
  ["a URI on another origin", challenge({ step_up: elsewhere })],
  ["a script for a URI", challenge({ step_up: { start_uri: "javascript:alert(1)" } })],
  ["a URI that is none", challenge({ step_up: { start_uri: "http://" } })],
  ["a step-up that was not enough", challenge({ unmet_after_step_up: true })],
]) {
  test(`passed through: ${name}`, async (context) => {
    context.mock.method(console, "warn", () => {});
    const { seen, outcome } = await seenIn(response, options);
    assert.equal(seen, undefined);
    assert.equal(outcome, response);
    assert.equal(response.bodyUsed, false);
    await response.text();
  });
}

test("a URI on another origin is said in the console", async (context) => {
  const warn = context.mock.method(console, "warn", () => {});
  await seenIn(challenge({ step_up: elsewhere }));
  assert.deepEqual([warn.mock.calls[0].arguments[0].code], ["foreign_uri"]);
});

test("what another origin answers after a redirect is passed through", async () => {
  const response = challenge();
  Object.defineProperty(response, "url", { value: "https://evil.example/pay" });
  assert.equal((await seenIn(response)).outcome, response);
});

test("a redirect on the same origin changes nothing", async () => {
  const response = challenge();
  Object.defineProperty(response, "url", { value: `${SITE}/other` });
  assert.ok((await seenIn(response)).seen);
});

test("a body that was read already leaves the header", async () => {
  const response = challenge({ max_age: 5 });
  await response.text();
  const { seen } = await seenIn(response);
  assert.deepEqual([seen.maxAge, seen.methods], [null, []]);
});

test("after a step-up that was not enough, another method is worth a try", async () => {
  const { seen } = await seenIn(challenge({ unmet_after_step_up: true, amr: ["totp"] }));
  assert.deepEqual(seen.methods, ["totp"]);
});

test("without a prompt and without a document a challenge is passed through", async () => {
  const server = new Server();
  const response = await withStepUp(server.fetch)(`${SITE}/pay`, {
    headers: { Authorization: "Bearer old" },
  });
  assert.equal(response.status, 401);
  assert.deepEqual(server.paths, ["/pay"]);
});

test("stepUpFetch is fetch for all else", async (context) => {
  const response = answer(200, "ok");
  const fetch = context.mock.method(globalThis, "fetch", async () => response);
  const init = { method: "PUT" };
  assert.equal(await stepup.stepUpFetch(SITE, init), response);
  assert.deepEqual(fetch.mock.calls[0].arguments, [SITE, init]);
  assert.equal(fetch.mock.calls[0].arguments[1], init);
});

test("a network error is passed through", async () => {
  const failure = new TypeError("fetch failed");
  const call = withStepUp(async () => Promise.reject(failure));
  await assert.rejects(call(SITE), (error) => error === failure);
});
