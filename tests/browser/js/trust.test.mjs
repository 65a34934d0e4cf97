// Origins that may ask for a step-up, and accounts that a request is repeated as.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  SESSION,
  SITE,
  Server,
  answer,
  bearer,
  byEmail,
  challenge,
  held,
  problem,
  soon,
  stepup,
} from "./server.mjs";

const { withStepUp } = stepup;
const PAY = `${SITE}/pay`;
const STEPPED_UP = ["/pay", "/step-up/otp/start", "/step-up/otp/verify", "/pay"];

const TOKENS = { sessionToken: "session", refreshToken: "refresh" };
const getTokens = () => TOKENS;
const jwt = (claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c2ln`;

// A page that is on no origin of these, but for what it lists.
for (const [name, init, options, asked] of [
  ["a foreign service", {}, {}, false],
  ["a foreign service, with tokens at hand", {}, { getTokens }, false],
  ["a foreign service with a key of its own", bearer("key"), { getTokens }, false],
  ["a foreign service with a key and no tokens", bearer("key"), {}, false],
  ["a foreign service with basic credentials", basic("session"), { getTokens }, false],
  ["a foreign service that is sent cookies", { credentials: "include" }, { getTokens }, false],
  [
    "a JWT of the same account",
    bearer(jwt({ sub: "U1" })),
    tokens(jwt({ sub: "U1", x: 1 })),
    false,
  ],
  ["the app's session", bearer("session"), { getTokens }, true],
  ["the app's session in another case", lower("session"), { getTokens }, true],
  ["an origin that is listed", {}, { origins: [SITE] }, true],
  ["one that is listed with a path", {}, { origins: [`${SITE}/api/`] }, true],
  ["one that is listed with its port", {}, { origins: ["HTTPS://Shop.Example:443"] }, true],
  ["another port", {}, { origins: [`${SITE}:8443`] }, false],
  ["another scheme", {}, { origins: ["http://shop.example"] }, false],
  ["a domain below", {}, { origins: ["https://example"] }, false],
  ["a domain above", {}, { origins: ["https://api.shop.example"] }, false],
]) {
  test(`${asked ? "asked" : "not asked"} by ${name}`, async () => {
    const { prompt, opened } = held();
    const server = new Server({ "/pay": () => challenge() });
    const call = withStepUp(server.fetch, { prompt, ...options })(PAY, init);
    await soon();
    assert.equal(opened.length, Number(asked));
    opened[0]?.settle(SESSION);
    assert.equal((await call).status, 401);
    assert.equal(server.requests.length, 1 + Number(asked));
    assert.equal(server.requests[0].body.includes("refresh"), false);
  });
}

function tokens(sessionToken) {
  return { getTokens: () => ({ ...TOKENS, sessionToken }) };
}
function basic(value) {
  return { headers: { Authorization: `Basic ${value}` } };
}
function lower(value) {
  return { headers: { authorization: `bearer ${value}` } };
}

test("names that are not ASCII are one origin in both of their forms", async () => {
  const { prompt, opened } = held();
  const options = { prompt, origins: ["https://bücher.example"] };
  const server = new Server({ "/pay": () => challenge() });
  const call = withStepUp(server.fetch, options)("https://xn--bcher-kva.example/pay");
  await soon();
  opened[0].settle(null);
  await assert.rejects(call, { code: "cancelled" });
});

test("an origin that is none is said at once", () => {
  assert.throws(() => withStepUp(fetch, { origins: ["shop.example"] }), TypeError);
});

test("a page on an opaque origin trusts no other one", async (context) => {
  globalThis.location = { origin: "null", href: "data:text/html,x" };
  context.after(() => delete globalThis.location);
  const prompt = () => assert.fail("The user is not to be asked.");
  const server = async () => challenge();
  for (const url of ["data:,x", "app://shop/pay", PAY]) {
    assert.equal((await withStepUp(server, { prompt })(url)).status, 401);
  }
});

test("a user in a URL is not its host", async (context) => {
  globalThis.location = new URL(SITE);
  context.after(() => delete globalThis.location);
  const prompt = () => assert.fail("The user is not to be asked.");
  const server = async () => challenge();
  for (const url of [
    "https://shop.example@evil.example/",
    "https://shop.example:1@evil.example/",
  ]) {
    assert.equal((await withStepUp(server, { prompt })(url)).status, 401);
  }
});

for (const [name, uri] of [
  ["another host", "https://evil.example/start"],
  ["no scheme", "//evil.example/start"],
  ["backslashes", "\\\\evil.example\\start"],
  ["a user", "https://shop.example@evil.example/"],
  ["another port", "https://shop.example:8443/start"],
  ["another scheme", "http://shop.example/start"],
  ["a script", "javascript:alert(1)"],
  ["a tab in it", "/\t/evil.example/"],
]) {
  test(`a challenge whose URI has ${name} is passed on`, async (context) => {
    context.mock.method(console, "warn", () => {});
    const prompt = () => assert.fail("The user is not to be asked.");
    for (const member of ["start_uri", "verify_uri", "status_uri", "enroll_uri"]) {
      const step_up = { ...problem().step_up, [member]: uri };
      const server = new Server({ "/pay": () => challenge({ step_up }) });
      const call = withStepUp(server.fetch, { prompt, origins: [SITE] });
      assert.equal((await call(PAY)).status, 401);
      assert.deepEqual(server.paths, ["/pay"]);
    }
  });
}

test("a key of another service is not sent to the app, nor the app's token to the service", async () => {
  const server = new Server({ "/today": () => challenge() });
  const call = withStepUp(server.fetch, { prompt: byEmail, origins: [SITE], getTokens });
  const response = await call("https://weather.example/today", bearer("key"));
  assert.equal(response.status, 401);
  assert.deepEqual(
    server.requests.map(({ url, bearer }) => [url, bearer]),
    [["https://weather.example/today", "Bearer key"]],
  );
});

test("the page's own origin may ask", async (context) => {
  globalThis.location = new URL(SITE);
  context.after(() => delete globalThis.location);
  const server = new Server({ "/pay": () => challenge() });
  await withStepUp(server.fetch, { prompt: byEmail })(PAY);
  assert.deepEqual(server.paths, STEPPED_UP);
});

const ann = jwt({ sub: "U1", n: 1 });
const annLater = jwt({ sub: "U1", n: 2 });
const bob = jwt({ sub: "U2" });
for (const [name, sent, sessionToken, asked] of [
  ["another account's token", bob, ann, false],
  ["another opaque token", "other", "session", false],
  ["an earlier token of the account", ann, annLater, true],
  ["its own token, without any of the app", "other", null, true],
]) {
  test(`on its own origin a request with ${name} is ${asked ? "" : "not "}stepped up`, async () => {
    const { prompt, opened } = held();
    const server = new Server({ "/pay": () => challenge() });
    const options = { prompt, origins: [SITE], ...tokens(sessionToken) };
    const call = withStepUp(server.fetch, options)(PAY, bearer(sent));
    await soon();
    assert.equal(opened.length, Number(asked));
    opened[0]?.settle({});
    assert.equal((await call).status, 401);
    assert.deepEqual([...new Set(server.requests.map(({ bearer }) => bearer))].slice(0, 1), [
      `Bearer ${sent}`,
    ]);
  });
}

test("two accounts share no prompt, and each is repeated as itself", async () => {
  const fresh = { [`Bearer ${ann}`]: annLater, [`Bearer ${bob}`]: jwt({ sub: "U2", n: 2 }) };
  const server = new Server({
    "/pay": ({ bearer }) => (fresh[bearer] ? challenge() : answer(200)),
    "/step-up/otp/verify": ({ bearer }) => answer(200, { session_token: fresh[bearer] }),
  });
  let prompts = 0;
  const prompt = (steps) => {
    prompts++;
    return byEmail(steps);
  };
  const call = withStepUp(server.fetch, { prompt, origins: [SITE] });
  const calls = [ann, ann, bob].map((token) => call(PAY, bearer(token)));
  for (const { status } of await Promise.all(calls)) assert.equal(status, 200);
  assert.equal(prompts, 2);
  const repeated = server.requests.filter(({ path }) => path === "/pay").slice(3);
  assert.deepEqual(
    repeated.map(({ bearer }) => bearer).sort(),
    [annLater, annLater, fresh[`Bearer ${bob}`]].map((token) => `Bearer ${token}`).sort(),
  );
});

for (const [name, settle, later] of [
  ["the server gives another user's session", { session_token: bob }, ann],
  ["the page has signed another user in meanwhile", {}, bob],
]) {
  test(`nothing is repeated when ${name}`, async () => {
    const server = new Server({ "/pay": () => challenge() });
    let sessionToken = ann;
    const prompt = async () => {
      sessionToken = later;
      return settle;
    };
    const onTokens = () => assert.fail("They are another user's.");
    const options = { prompt, onTokens, getTokens: () => ({ sessionToken }), origins: [SITE] };
    const call = withStepUp(server.fetch, options)(PAY, bearer(ann));
    await assert.rejects(call, { name: "StepUpFailed", code: "subject_mismatch" });
    assert.deepEqual(server.paths, ["/pay"]);
  });
}
