// Nothing that a server writes makes a call throw anything else, or spoils the tokens of the page.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CODE,
  SESSION,
  SITE,
  Server,
  answer,
  byEmail,
  challenge,
  problem,
  stepup,
} from "./server.mjs";

const { StepUpFailed, parseChallenge, withStepUp } = stepup;
const PAY = `${SITE}/pay`;
globalThis.location = new URL(SITE);

const VALUES = [
  null,
  0,
  -1,
  1e300,
  true,
  "",
  "x",
  "constructor",
  "__proto__",
  "toString",
  "\ud800",
  "täst ☂",
  "a\r\nb: c",
  [],
  [null],
  {},
  { a: 1 },
  { toString: 1, valueOf: 1 },
  "/x",
  "http://",
  "//evil.example",
];
// All but what has the form of a token.
const HOSTILE = VALUES.filter((value) => typeof value !== "string" || !/^[\w/.]+$/.test(value));

test("members of a challenge of any kind", async (context) => {
  context.mock.method(console, "warn", () => {});
  let n = 0;
  const pick = () => VALUES[(n = (n * 48271 + 11) % 2147483647) % VALUES.length];
  for (let round = 0; round < 600; round++) {
    const step_up = Object.fromEntries(
      ["start_uri", "verify_uri", "methods", "uris", "status_uri", "flow_id"].map((name) => [
        name,
        pick(),
      ]),
    );
    const members = { step_up: round % 5 ? step_up : pick(), detail: pick() };
    for (const name of ["amr", "unmet", "acr_values", "max_age", "title"]) members[name] = pick();
    const server = async () => challenge(members);
    const call = withStepUp(server, { prompt: async () => SESSION });
    assert.equal((await call(PAY)).status, 401, JSON.stringify(members));
  }
});

test("a method is offered only with its routes", async () => {
  for (const routes of VALUES) {
    const step_up = { methods: ["totp", "constructor", "__proto__"], uris: { totp: routes } };
    const server = new Server({ "/pay": () => challenge({ step_up }) });
    let methods;
    const prompt = async (steps) => {
      methods = steps.challenge.methods;
      await assert.rejects(steps.verify("totp", {}), { name: "StepUpFailed" });
      await assert.rejects(steps.start("constructor"), { name: "StepUpFailed" });
      return {};
    };
    await withStepUp(server.fetch, { prompt })(PAY);
    const usable = routes && typeof routes === "object" && !Array.isArray(routes);
    assert.deepEqual(methods, usable ? ["totp"] : []);
    assert.deepEqual(server.paths, ["/pay", "/pay"]);
  }
});

test("the names of a header are the server's own", () => {
  const names = ["constructor", "__proto__", "toString", "hasOwnProperty"];
  const field = `Bearer error="${CODE}", ${names.map((name) => `${name}="x"`).join(", ")}`;
  const challenge = parseChallenge(field);
  assert.equal(challenge.error, CODE);
  assert.equal(Object.getPrototypeOf(challenge), Object.prototype);
  assert.equal(parseChallenge(`constructor error="${CODE}"`), undefined);
});

for (const number of ["9".repeat(400), "-1", "1e3", "0x10", "1.5", "Infinity", "NaN", " "]) {
  test(`a header that says ${number.slice(0, 9)} says no number`, async () => {
    const header = { "WWW-Authenticate": `Bearer error="${CODE}", max_age="${number}"` };
    const body = { step_up: problem().step_up };
    let maxAge;
    const server = new Server({
      "/pay": () => answer(401, body, header),
      "/step-up/otp/start": () => answer(429, { code: "slow" }, { "Retry-After": number }),
    });
    const prompt = async (steps) => {
      ({ maxAge } = steps.challenge);
      return byEmail(steps);
    };
    await assert.rejects(withStepUp(server.fetch, { prompt })(PAY), {
      name: "StepUpFailed",
      code: "slow",
      retryAfter: null,
    });
    assert.equal(maxAge, null);
  });
}

test("members of a refused step of any kind", async () => {
  for (const value of VALUES) {
    for (const body of [
      { code: value },
      { code: "news", detail: value },
      { detail: value },
      value,
    ]) {
      const server = new Server({ "/step-up/otp/start": () => answer(400, body) });
      await assert.rejects(withStepUp(server.fetch, { prompt: byEmail })(PAY), (error) => {
        assert.ok(error instanceof StepUpFailed);
        assert.equal(typeof error.code, "string");
        assert.equal(typeof error.message, "string");
        return true;
      });
    }
  }
});

test("a success that is no object is none", async () => {
  for (const value of VALUES) {
    if (value && typeof value === "object" && !Array.isArray(value)) continue;
    const server = new Server({ "/step-up/otp/verify": () => answer(200, value) });
    const onTokens = () => assert.fail("There are none.");
    const call = withStepUp(server.fetch, { prompt: byEmail, onTokens });
    await assert.rejects(call(PAY), { name: "StepUpFailed", code: "failed" });
  }
});

test("a session token that cannot be sent is no session", async () => {
  for (const session_token of HOSTILE) {
    if (session_token === null) continue;
    const server = new Server({ "/step-up/otp/verify": () => answer(200, { session_token }) });
    const onTokens = () => assert.fail("There are none.");
    const call = withStepUp(server.fetch, { prompt: byEmail, onTokens });
    await assert.rejects(call(PAY), { name: "StepUpFailed", code: "no_session" });
  }
});

test("a refresh token that cannot be sent leaves the one of the page", async () => {
  for (const refresh_token of HOSTILE) {
    const server = new Server({
      "/step-up/otp/verify": () => answer(200, { session_token: "new", refresh_token }),
    });
    const given = [];
    const call = withStepUp(server.fetch, {
      prompt: byEmail,
      getTokens: () => ({ sessionToken: "old", refreshToken: "mine" }),
      onTokens: ({ sessionToken, refreshToken }) => given.push([sessionToken, refreshToken]),
    });
    const headers = { Authorization: "Bearer old" };
    const response = await call(PAY, { headers });
    assert.deepEqual([response.status, given], [200, [["new", "mine"]]]);
  }
});

test("a token that is none leaves the page's own bearer as it is", async () => {
  for (const sessionToken of ["e30.e30.x", "a.!.b", "..", "a.W10.c", "a.bnVsbA.c"]) {
    const server = new Server();
    const call = withStepUp(server.fetch, {
      prompt: byEmail,
      getTokens: () => ({ sessionToken }),
    });
    const headers = { Authorization: `Bearer ${sessionToken}` };
    assert.equal((await call(PAY, { headers })).status, 200);
  }
});
