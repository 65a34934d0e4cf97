// `onChallenge`: a new authorization at the issuer, and no second one where that does not help.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { CODE, SITE, Server, answer, bearer, challenge, soon, stepup } from "./server.mjs";

const PAY = `${SITE}/pay`;
const UNMET = "unmet_authentication_requirements";
const ASKED = `Bearer error="${CODE}", max_age="300", acr_values="urn:mfa urn:pwd"`;
const refused = (header = ASKED) =>
  new Response(null, { status: 401, headers: { "WWW-Authenticate": header } });
const jwt = (claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c2ln`;

// An API that takes the token `new` and knows nothing of helper routes.
const api = (refusal = refused) =>
  new Server({
    "/pay": ({ bearer }) => (bearer === "Bearer new" ? answer(200, "paid") : refusal()),
  });
const withTokens = (server, options) => {
  const getTokens = () => ({ sessionToken: "old", refreshToken: "refresh" });
  return stepup.withStepUp(server.fetch, { getTokens, ...options });
};

beforeEach(() => {
  globalThis.location = new URL(SITE);
  const kept = new Map();
  globalThis.sessionStorage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, String(value)),
    removeItem: (key) => kept.delete(key),
    kept,
  };
});

for (const [name, tokens, refreshToken] of [
  ["tokens", { sessionToken: "new", refreshToken: "newer" }, "newer"],
  ["an access token", "new", "refresh"],
]) {
  test(`the request is sent once more with ${name}`, async () => {
    const seen = [];
    const stored = [];
    const server = api();
    const onChallenge = async (asked, signal) => {
      seen.push([asked.parameters(), asked.acrValues, asked.maxAge, signal.aborted]);
      return tokens;
    };
    const onTokens = (fresh) => stored.push([fresh.sessionToken, fresh.refreshToken]);
    const call = withTokens(server, { onChallenge, onTokens });
    const response = await call(PAY, bearer());
    assert.equal(response.status, 200);
    const parameters = { acr_values: "urn:mfa urn:pwd", max_age: "300" };
    assert.deepEqual(seen, [[parameters, ["urn:mfa", "urn:pwd"], 300, false]]);
    assert.deepEqual(stored, [["new", refreshToken]]);
    assert.deepEqual(server.paths, ["/pay", "/pay"]);
    assert.equal(server.requests[1].body, "{}");
    assert.equal(sessionStorage.kept.size, 0);
  });
}

for (const [name, header, options, expected] of [
  ["a class that it must not ignore", ASKED, { essential: true }, { claims: claims(), max_age: "300" }],
  ["an age alone", `Bearer error="${CODE}", max_age="0"`, { essential: true }, { max_age: "0" }],
  ["nothing", `Bearer error="${CODE}"`, undefined, {}],
  ["no class with a line end", `Bearer error="${CODE}", acr_values="a\u00e9 b"`, {}, { acr_values: "b" }],
]) {
  test(`parameters for ${name}`, async () => {
    let parameters;
    const onChallenge = (asked) => {
      parameters = asked.parameters(options);
    };
    const call = withTokens(api(() => refused(header)), { onChallenge });
    await assert.rejects(call(PAY, bearer()), { name: "StepUpCancelled" });
    assert.deepEqual(parameters, expected);
  });
}

function claims() {
  return '{"id_token":{"acr":{"essential":true,"values":["urn:mfa","urn:pwd"]}}}';
}

test("a token that is weaker or older than asked is an error, not another round", async () => {
  let rounds = 0;
  const server = api(() => challenge({ detail: "Not enough.", step_up: undefined }));
  const onChallenge = () => `weak${++rounds}`;
  const call = withTokens(server, { onChallenge })(PAY, bearer());
  const error = await call.catch((reason) => reason);
  assert.ok(error instanceof stepup.StepUpUnmet && error instanceof stepup.StepUpFailed);
  assert.deepEqual(
    [error.name, error.code, error.message],
    ["StepUpUnmet", UNMET, "Not enough."],
  );
  assert.equal(error.response.status, 401);
  assert.equal(rounds, 1);
  assert.deepEqual(
    server.requests.map(({ bearer }) => bearer),
    ["Bearer old", "Bearer weak1"],
  );
});

test("a server that calls it unmet after a step-up is authorized for once, too", async () => {
  const server = api(() => challenge({ unmet_after_step_up: true, step_up: undefined }));
  const call = withTokens(server, { onChallenge: () => "weak" });
  await assert.rejects(call(PAY, bearer()), { name: "StepUpUnmet" });
  assert.deepEqual(server.paths, ["/pay", "/pay"]);
});

for (const [name, response] of [
  ["a token that is not taken", () => answer(401, { code: "invalid_token" })],
  ["a refusal of another kind", () => answer(403, { code: "forbidden" })],
]) {
  test(`after a round, ${name} is passed on`, async () => {
    const answers = [refused(), response()];
    const server = new Server({ "/pay": () => answers.shift() });
    const call = withTokens(server, { onChallenge: () => "new" });
    assert.equal((await call(PAY, bearer())).status, response().status);
  });
}

test("requests that are refused at a time share one round, and each knows how it ended", async () => {
  for (const [token, outcome] of [
    ["new", 200],
    ["weak", UNMET],
  ]) {
    let rounds = 0;
    const onChallenge = async () => {
      rounds++;
      await soon();
      return token;
    };
    const call = withTokens(api(), { onChallenge });
    const sent = [1, 2, 3].map(() =>
      call(PAY, bearer()).then(
        ({ status }) => status,
        ({ code }) => code,
      ),
    );
    assert.deepEqual(await Promise.all(sent), [outcome, outcome, outcome]);
    assert.equal(rounds, 1);
  }
});

test("a user who comes back without a login has cancelled, and may try again", async () => {
  const answers = [null, undefined, "new"];
  const call = withTokens(api(), { onChallenge: () => answers.shift() });
  for (let n = 0; n < 2; n++) await assert.rejects(call(PAY, bearer()), { code: "cancelled" });
  assert.equal((await call(PAY, bearer())).status, 200);
});

test("what the callback throws comes out, and the next request asks again", async () => {
  const failure = new Error("popup blocked");
  const answers = [() => Promise.reject(failure), () => "new"];
  const call = withTokens(api(), { onChallenge: () => answers.shift()() });
  await assert.rejects(call(PAY, bearer()), (reason) => reason === failure);
  assert.equal((await call(PAY, bearer())).status, 200);
});

test("another user's login is not used", async () => {
  const [ann, bob] = ["ann", "bob"].map((sub) => jwt({ sub }));
  const server = api();
  const onTokens = () => assert.fail("They are another user's.");
  const options = { getTokens: () => ({ sessionToken: ann }), onTokens, onChallenge: () => bob };
  const call = stepup.withStepUp(server.fetch, options);
  await assert.rejects(call(PAY, bearer(ann)), { code: "subject_mismatch" });
  assert.deepEqual(server.paths, ["/pay"]);
});

test("what cannot be sent as a token is no session", async () => {
  const call = withTokens(api(), { onChallenge: () => "a b" });
  await assert.rejects(call(PAY, bearer()), { code: "no_session" });
});

test("a page with cookies says that it is done", async () => {
  let signedIn = false;
  const server = new Server({ "/pay": () => (signedIn ? answer(200, "paid") : refused()) });
  const onChallenge = () => {
    signedIn = true;
    return {};
  };
  const call = stepup.withStepUp(server.fetch, { onChallenge });
  assert.equal((await call(PAY, { method: "POST", body: "{}" })).status, 200);
});

test("requests of the callback do not wait for the round they belong to", async () => {
  const server = api();
  const statuses = [];
  const onChallenge = async () => {
    statuses.push((await call(`${SITE}/pay`, bearer())).status);
    return "new";
  };
  const call = withTokens(server, { onChallenge });
  assert.equal((await call(PAY, bearer())).status, 200);
  assert.deepEqual(statuses, [401]);
});

test("only those whom the page trusts send its user away", async () => {
  globalThis.location = new URL("https://page.example");
  const onChallenge = () => assert.fail("The user is not to be sent away.");
  const call = withTokens(api(), { onChallenge });
  assert.equal((await call(PAY, bearer("a key of that service"))).status, 401);
});

test("a challenge with helper routes is answered by them", async () => {
  const onChallenge = () => assert.fail("There are codes.");
  const prompt = async (steps) => steps.verify("email", { code: "123456" });
  const call = withTokens(new Server(), { prompt, onChallenge });
  assert.equal((await call(PAY, bearer())).status, 200);
});

// A page of its own, as after a navigation: nothing is left of the one before but its storage.
let pages = 0;
async function page(server, onChallenge) {
  const file = "../../../fastapi_stepup/browser/stepup.js";
  const { withStepUp } = await import(`${file}?page=${++pages}`);
  const getTokens = () => ({ sessionToken: "old" });
  return withStepUp(server.fetch, { getTokens, onChallenge })(PAY, bearer());
}

// The page is left for the issuer.
const leave = (server) =>
  new Promise((left, stayed) => {
    const onChallenge = () => new Promise(() => left());
    page(server, onChallenge).then(stayed, stayed);
  });
const stay = () => assert.fail("The user is sent away again.");

test("a page that came back and is still refused does not leave again", async () => {
  const server = api();
  await leave(server);
  const error = await page(server, stay).catch((reason) => reason);
  assert.deepEqual([error.name, error.response.status], ["StepUpUnmet", 401]);
  // The user has seen why, and may want to try once more.
  await leave(server);
});

test("a page that came back with a login that will do forgets nothing that it needs", async () => {
  const server = api();
  await leave(server);
  const call = withTokens(server, { onChallenge: stay });
  assert.equal((await call(PAY, bearer("new"))).status, 200);
});

for (const [maxAge, seconds, asks] of [
  [300, 299, false],
  [300, 301, true],
  [0, 119, false],
  [0, 121, true],
  [null, 599, false],
  [null, 601, true],
]) {
  test(`a login that may be ${maxAge} s old is asked for again after ${seconds} s: ${asks}`, async (t) => {
    t.mock.timers.enable({ apis: ["Date"], now: 1e12 });
    const age = maxAge === null ? "" : `, max_age="${maxAge}"`;
    const server = api(() => refused(`Bearer error="${CODE}", acr_values="a"${age}`));
    await leave(server);
    t.mock.timers.tick(seconds * 1000);
    let asked = false;
    const onChallenge = () => {
      asked = true;
    };
    await assert.rejects(page(server, onChallenge), { code: asks ? "cancelled" : UNMET });
    assert.equal(asked, asks);
  });
}

for (const [maxAge, seconds, asks] of [
  [15, 5, false],
  [200, 90, false],
  [58, 60, true],
  [0, 5, true],
]) {
  test(`a used login of ${maxAge} s, ${seconds} s after a round, leads to another: ${asks}`, async (t) => {
    t.mock.timers.enable({ apis: ["Date"], now: 1e12 });
    const unmet = [{ requirement: "step_up", reason: "used" }];
    // The age that is named grows with the login that was used.
    const used = (age) => api(() => challenge({ unmet, max_age: age, step_up: undefined }));
    await leave(used(10));
    t.mock.timers.tick(seconds * 1000);
    let asked = false;
    const onChallenge = () => {
      asked = true;
    };
    await assert.rejects(page(used(maxAge), onChallenge), { code: asks ? "cancelled" : UNMET });
    assert.equal(asked, asks);
  });
}

test("a round for one thing says nothing about another", async () => {
  await leave(api());
  await leave(api(() => refused(`Bearer error="${CODE}", acr_values="urn:other"`)));
});

test("a page that is shown again by the button Back has cancelled", async () => {
  globalThis.addEventListener = (_, listener) => listeners.push(listener);
  const listeners = [];
  const call = withTokens(api(), { onChallenge: () => new Promise(() => {}) })(PAY, bearer());
  call.catch(() => {});
  await soon();
  listeners[0]({ persisted: false });
  await soon();
  assert.equal(sessionStorage.kept.size, 1);
  listeners[0]({ persisted: true });
  await assert.rejects(call, { code: "cancelled" });
  assert.equal(sessionStorage.kept.size, 0);
  delete globalThis.addEventListener;
});

test("a request that is given up ends its round", async () => {
  const controller = new AbortController();
  const answers = [new Promise(() => {}), "new"];
  const call = withTokens(api(), { onChallenge: () => answers.shift() });
  const first = call(PAY, bearer("old", { signal: controller.signal }));
  await soon();
  controller.abort();
  await assert.rejects(first, { name: "AbortError" });
  assert.equal((await call(PAY, bearer())).status, 200);
});

test("a page without a storage makes its round", async () => {
  const denied = () => {
    throw new DOMException("Access is denied.", "SecurityError");
  };
  for (const get of [denied, () => undefined]) {
    Object.defineProperty(globalThis, "sessionStorage", { get, configurable: true });
    assert.equal((await withTokens(api(), { onChallenge: () => "new" })(PAY, bearer())).status, 200);
    delete globalThis.sessionStorage;
  }
});
