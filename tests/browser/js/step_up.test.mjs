// One request: sent, refused, stepped up and sent again.
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

// The page is on the same origin.
globalThis.location = new URL(SITE);
const { StepUpCancelled, StepUpError, StepUpFailed, withStepUp } = stepup;
const PAY = `${SITE}/pay`;
const STEPPED_UP = ["/pay", "/step-up/otp/start", "/step-up/otp/verify", "/pay"];

test("a challenged request is sent again with the new session", async () => {
  const server = new Server();
  const given = [];
  const tokens = { sessionToken: "old", refreshToken: "refresh" };
  const call = withStepUp(server.fetch, {
    prompt: byEmail,
    getTokens: () => tokens,
    onTokens: async (fresh) => given.push(fresh),
  });
  const response = await call(PAY, bearer("old", { body: '{"shirt":"M"}' }));
  assert.equal(await response.json(), "paid");
  assert.deepEqual(server.paths, STEPPED_UP);
  const [first, start, verify, second] = server.requests;
  assert.equal(second.body, first.body);
  assert.equal(second.bearer, "Bearer new");
  assert.equal(start.bearer, "Bearer old");
  assert.deepEqual(JSON.parse(start.body), { delivery: "email", refresh_token: "refresh" });
  assert.deepEqual(JSON.parse(verify.body), {
    delivery: "email",
    code: "123456",
    refresh_token: "refresh",
  });
  assert.deepEqual(given, [{ sessionToken: "new", refreshToken: "refresh", session: SESSION }]);
});

test("the step-up's own requests go out as the request did, and follow no redirect", async () => {
  const server = new Server();
  await withStepUp(server.fetch, { prompt: byEmail })(
    PAY,
    bearer("old", { credentials: "include" }),
  );
  const { init, bearer: sent } = server.requests[1];
  assert.deepEqual([init.credentials, init.redirect, sent], ["include", "error", "Bearer old"]);
});

test("they can go another way", async () => {
  const server = new Server();
  const helper = new Server();
  const call = withStepUp(server.fetch, { prompt: byEmail, fetch: helper.fetch });
  await call(PAY, bearer());
  assert.deepEqual(server.paths, ["/pay", "/pay"]);
  assert.deepEqual(helper.paths, STEPPED_UP.slice(1, 3));
});

test("with cookies there is no bearer and nothing to hand over", async () => {
  let steppedUp = false;
  const server = new Server({
    "/pay": () => (steppedUp ? answer(200, "paid") : challenge()),
    "/step-up/otp/verify": () => {
      steppedUp = true;
      return answer(200, { ...SESSION, session_token: null });
    },
  });
  const onTokens = () => assert.fail("There are none.");
  const call = withStepUp(server.fetch, { prompt: byEmail, onTokens });
  const response = await call(PAY, { credentials: "include" });
  assert.equal(response.status, 200);
  assert.deepEqual(
    server.requests.map((request) => request.bearer),
    [null, null, null, null],
  );
});

test("a step-up that was finished elsewhere takes the tokens that are there by then", async () => {
  const server = new Server();
  let sessionToken = "old";
  const prompt = async () => {
    sessionToken = "new";
    return {};
  };
  const call = withStepUp(server.fetch, { prompt, getTokens: () => ({ sessionToken }) });
  assert.equal((await call(PAY, bearer())).status, 200);
});

test("a fetch that sends tokens by itself is left to it", async () => {
  const server = new Server();
  let token = "old";
  const own = (input, init) =>
    server.fetch(input, { ...init, headers: { Authorization: `Bearer ${token}` } });
  const onTokens = ({ sessionToken }) => {
    token = sessionToken;
  };
  const options = { prompt: byEmail, origins: [SITE], onTokens };
  assert.equal((await withStepUp(own, options)(PAY)).status, 200);
});

test("the user is not asked twice: the second 401 is returned", async () => {
  const server = new Server({ "/pay": () => challenge({ max_age: 0 }) });
  const response = await withStepUp(server.fetch, { prompt: byEmail })(PAY, bearer());
  assert.equal(response.status, 401);
  assert.deepEqual(server.paths, STEPPED_UP);
  assert.equal((await response.json()).code, problem().code);
});

for (const result of [null, undefined, false]) {
  test(`a prompt that gives ${result} is a cancel`, async () => {
    const server = new Server();
    const call = withStepUp(server.fetch, { prompt: async () => result });
    await assert.rejects(call(PAY, bearer()), (error) => {
      assert.ok(error instanceof StepUpCancelled && error instanceof StepUpError);
      assert.deepEqual([error.name, error.code], ["StepUpCancelled", "cancelled"]);
      return true;
    });
    assert.deepEqual(server.paths, ["/pay"]);
  });
}

test("a prompt's own error reaches every request", async () => {
  const { prompt, opened } = held();
  const call = withStepUp(new Server().fetch, { prompt });
  const failure = new RangeError("mine");
  const calls = [call(PAY, bearer()), call(PAY, bearer())];
  const rejections = calls.map((one) => assert.rejects(one, (error) => error === failure));
  await soon();
  opened[0].fail(failure);
  await Promise.all(rejections);
});

test("a refused step says why", async () => {
  const refused = { code: "too_many_attempts", detail: "Too many." };
  for (const body of [refused, { detail: refused }]) {
    const server = new Server({
      "/step-up/otp/start": () => answer(429, body, { "Retry-After": "30" }),
    });
    await assert.rejects(withStepUp(server.fetch, { prompt: byEmail })(PAY, bearer()), (error) => {
      assert.ok(error instanceof StepUpFailed);
      assert.deepEqual([error.code, error.retryAfter], ["too_many_attempts", 30]);
      assert.equal(error.message, "Too many.");
      assert.deepEqual(error.problem, refused);
      return true;
    });
  }
});

for (const [name, reply, code] of [
  ["a page", () => new Response("<h1>502</h1>", { status: 502 }), "failed"],
  ["a page that says it went well", () => new Response("<h1>Hi</h1>"), "failed"],
  ["nothing", () => Promise.reject(new TypeError("fetch failed")), "network"],
]) {
  test(`a step that gets ${name} fails as ${code}`, async () => {
    const server = new Server({ "/step-up/otp/start": reply });
    await assert.rejects(withStepUp(server.fetch, { prompt: byEmail })(PAY, bearer()), (error) => {
      assert.deepEqual(
        [error.name, error.code, error.retryAfter ?? null],
        ["StepUpFailed", code, null],
      );
      return true;
    });
  });
}

test("each method has its own routes", async () => {
  const step_up = {
    status_uri: "/step-up/status",
    methods: ["passkey", "enchantedlink"],
    uris: {
      passkey: { start_uri: "/passkey/start", finish_uri: "/passkey/finish" },
      enchantedlink: { start_uri: "/link/start", poll_uri: "/link/poll" },
    },
  };
  let polls = 0;
  const server = new Server({
    "/pay": ({ bearer }) => (bearer === "Bearer new" ? answer(200) : challenge({ step_up })),
    "/step-up/status": () => answer(200, { signed_in: true }),
    "/passkey/start": () => answer(200, { transaction_id: "t" }),
    "/passkey/finish": () => answer(200, { ...SESSION, session_token: "second" }),
    "/link/start": () => answer(200, { pending_ref: "p" }),
    "/link/poll": () => (polls++ ? answer(200, SESSION) : answer(202, { status: "pending" })),
  });
  const prompt = async (steps) => {
    assert.deepEqual(await steps.status(), { signed_in: true });
    assert.deepEqual(await steps.start("passkey"), { transaction_id: "t" });
    assert.equal((await steps.verify("passkey", { transaction_id: "t" })).session_token, "second");
    assert.deepEqual(await steps.start("enchantedlink"), { pending_ref: "p" });
    assert.equal(await steps.poll("enchantedlink", { pending_ref: "p" }), null);
    return steps.poll("enchantedlink", { pending_ref: "p" });
  };
  assert.equal((await withStepUp(server.fetch, { prompt })(PAY, bearer())).status, 200);
  assert.deepEqual(JSON.parse(server.requests[3].body), { transaction_id: "t" });
});

test("a status that cannot be had is null", async () => {
  const status_uri = "/step-up/status";
  for (const [step_up, reply] of [
    [problem().step_up],
    [{ ...problem().step_up, status_uri }, () => answer(500, {})],
    [{ ...problem().step_up, status_uri }, () => Promise.reject(new TypeError())],
  ]) {
    const server = new Server({ "/pay": () => challenge({ step_up }), [status_uri]: reply });
    let status = "unknown";
    const prompt = async (steps) => {
      status = await steps.status();
      return SESSION;
    };
    await withStepUp(server.fetch, { prompt })(PAY, bearer());
    assert.equal(status, null);
  }
});
