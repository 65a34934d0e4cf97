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

const { StepUpBodyNotReplayable, StepUpCancelled, StepUpError, StepUpFailed, withStepUp } = stepup;
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

test("nobody is asked twice: the second 401 is returned", async () => {
  const server = new Server({ "/pay": () => challenge({ max_age: 0 }) });
  const response = await withStepUp(server.fetch, { prompt: byEmail })(PAY, bearer());
  assert.equal(response.status, 401);
  assert.deepEqual(server.paths, STEPPED_UP);
  assert.equal((await response.json()).code, problem().code);
});

test("parallel requests share one prompt, and each is sent once more", async () => {
  const server = new Server();
  const { prompt, opened } = held();
  const call = withStepUp(server.fetch, { prompt });
  const calls = [1, 2, 3].map((n) => call(PAY, bearer("old", { body: `${n}` })));
  await soon();
  assert.equal(opened.length, 1);
  opened[0].settle(SESSION);
  const statuses = (await Promise.all(calls)).map(({ status }) => status);
  assert.deepEqual(statuses, [200, 200, 200]);
  const bodies = server.requests.map(({ body }) => body);
  assert.deepEqual(bodies, ["1", "2", "3", "1", "2", "3"]);
});

// A server whose first answer waits until it is let go.
function late(server) {
  let release;
  const gate = new Promise((open) => (release = open));
  let first = true;
  const fetch = async (...request) => {
    const wait = first;
    first = false;
    const response = await server.fetch(...request);
    if (wait) await gate;
    return response;
  };
  return { fetch, release };
}

test("a late 401 asks nobody: the request is sent again with the session of the prompt", async () => {
  const server = new Server();
  const { fetch, release } = late(server);
  const { prompt, opened } = held();
  const call = withStepUp(fetch, { prompt });
  const slow = call(PAY, bearer());
  const quick = call(new Request(PAY, bearer()));
  await soon();
  opened[0].settle(SESSION);
  assert.equal((await quick).status, 200);
  release();
  assert.equal((await slow).status, 200);
  assert.equal(opened.length, 1);
  // A later request has a prompt of its own.
  const next = call(PAY, bearer());
  await soon();
  assert.equal(opened.length, 2);
  opened[1].settle(SESSION);
  assert.equal((await next).status, 200);
});

test("a late 401 is part of a cancel", async () => {
  const { fetch, release } = late(new Server());
  const { prompt, opened } = held();
  const call = withStepUp(fetch, { prompt });
  const slow = assert.rejects(call(PAY, bearer()), StepUpCancelled);
  const quick = assert.rejects(call(PAY, bearer()), StepUpCancelled);
  await soon();
  opened[0].settle(null);
  await quick;
  release();
  await slow;
  assert.equal(opened.length, 1);
});

test("a late request that still needs a step-up is asked for it, with its body", async () => {
  let n = 0;
  const paid = [false, false, true, false, true]; // slow, quick, quick, slow, slow
  const server = new Server({ "/pay": () => (paid[n++] ? answer(200) : challenge()) });
  const { fetch, release } = late(server);
  const { prompt, opened } = held();
  const call = withStepUp(fetch, { prompt });
  const slow = call(new Request(PAY, bearer("old", { body: '"slow"' })));
  const quick = call(PAY, bearer());
  await soon();
  opened[0].settle(SESSION);
  assert.equal((await quick).status, 200);
  release();
  await soon();
  assert.equal(opened.length, 2);
  opened[1].settle(SESSION);
  assert.equal((await slow).status, 200);
  assert.equal(server.requests.filter(({ body }) => body === '"slow"').length, 3);
});

test("challenges that differ are asked for one after the other", async () => {
  const server = new Server({
    "/a": ({ bearer }) => (bearer === "Bearer new" ? answer(200) : challenge({ amr: ["sms"] })),
    "/b": ({ bearer }) => (bearer === "Bearer new" ? answer(200) : challenge({ amr: ["totp"] })),
  });
  const { prompt, opened } = held();
  const options = { prompt };
  const a = withStepUp(server.fetch, options)(`${SITE}/a`, bearer());
  const b = withStepUp(server.fetch, options)(`${SITE}/b`, bearer());
  await soon();
  assert.equal(opened.length, 1);
  opened[0].settle(SESSION);
  await a;
  await soon();
  assert.deepEqual(opened[1].steps.challenge.methods, ["totp"]);
  opened[1].settle(SESSION);
  assert.equal((await b).status, 200);
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

async function* pieces() {
  yield "{}";
}
const stream = () => new Blob(["{}"]).stream();
for (const [name, input, init] of [
  ["a stream", PAY, () => bearer("old", { body: stream(), duplex: "half" })],
  ["an async iterable", PAY, () => bearer("old", { body: pieces(), duplex: "half" })],
]) {
  test(`a body that cannot be sent again is reported before anybody is asked: ${name}`, async () => {
    const server = new Server();
    const prompt = () => assert.fail("Nobody is to be asked.");
    await assert.rejects(withStepUp(server.fetch, { prompt })(input, init()), (error) => {
      assert.ok(error instanceof StepUpBodyNotReplayable);
      assert.equal(error.code, "body_not_replayable");
      assert.equal(error.response.status, 401);
      return true;
    });
    assert.deepEqual(server.paths, ["/pay"]);
  });
}

test("a request that was read before is reported too", async () => {
  const request = new Request(PAY, bearer());
  await request.text();
  const server = async () => challenge();
  const call = withStepUp(server, { prompt: byEmail });
  await assert.rejects(call(request), StepUpBodyNotReplayable);
});

test("a stream is no matter when nothing is asked", async () => {
  const call = withStepUp(new Server().fetch, { prompt: byEmail });
  const response = await call(PAY, bearer("new", { body: stream(), duplex: "half" }));
  assert.equal(response.status, 200);
});

const form = new FormData();
form.set("shirt", "M");
for (const [name, body] of [
  ["text", '"x"'],
  ["bytes", new TextEncoder().encode('"x"')],
  ["a blob", new Blob(['"x"'])],
  ["nothing", null],
]) {
  for (const wrap of [false, true]) {
    test(`a body is sent again: ${name}${wrap ? " in a Request" : ""}`, async () => {
      const server = new Server();
      const init = bearer("old", { body });
      const call = withStepUp(server.fetch, { prompt: byEmail });
      const response = await (wrap ? call(new Request(PAY, init)) : call(PAY, init));
      assert.equal(response.status, 200);
      const sent = server.requests.filter(({ path }) => path === "/pay").map((one) => one.body);
      assert.equal(sent[0], sent[1]);
      assert.equal(sent[0], body ? '"x"' : "");
    });
  }
}

test("a form is sent again", async () => {
  const bodies = [];
  const fetch = async (input, init) => {
    const request = new Request(input, init);
    if (!request.url.endsWith("/pay")) return answer(200, SESSION);
    bodies.push((await request.formData()).get("shirt"));
    return bodies.length > 1 ? answer(200) : challenge();
  };
  await withStepUp(fetch, { prompt: byEmail })(PAY, bearer("old", { body: form }));
  assert.deepEqual(bodies, ["M", "M"]);
});

test("other members of init are sent again, other headers too", async () => {
  const server = new Server();
  const init = bearer("old", { priority: "high" });
  init.headers["X-Cart"] = "7";
  await withStepUp(server.fetch, { prompt: byEmail })(PAY, init);
  const again = server.requests[3].init;
  assert.deepEqual([again.priority, again.headers.get("x-cart")], ["high", "7"]);
  assert.equal(init.headers.Authorization, "Bearer old");
});

for (const [name, init, options, asked] of [
  ["a stranger", {}, {}, false],
  ["a stranger, and tokens at hand", {}, { getTokens: () => ({ sessionToken: "s" }) }, false],
  ["one that the page sends a bearer", bearer(), {}, true],
  ["one that the page sends cookies", { credentials: "include" }, {}, true],
  ["one that the page lists", {}, { origins: [SITE] }, true],
  ["one beside those that it lists", {}, { origins: [`${SITE}:8443`] }, false],
]) {
  test(`${asked ? "asked" : "not asked"} by ${name}`, async () => {
    const { prompt, opened } = held();
    const server = new Server({ "/pay": () => challenge() });
    const call = withStepUp(server.fetch, { prompt, ...options })(PAY, init);
    await soon();
    assert.equal(opened.length, Number(asked));
    opened[0]?.settle(SESSION);
    assert.equal((await call).status, 401);
  });
}

test("the page's own origin may ask", async (context) => {
  globalThis.location = new URL(SITE);
  context.after(() => delete globalThis.location);
  const server = new Server({ "/pay": () => challenge() });
  await withStepUp(server.fetch, { prompt: byEmail })(PAY);
  assert.deepEqual(server.paths, STEPPED_UP);
});

test("tokens do not go to an origin that is only sent cookies", async () => {
  const server = new Server({ "/pay": () => challenge() });
  const getTokens = () => assert.fail("They are not for this one.");
  await withStepUp(server.fetch, { prompt: byEmail, getTokens })(PAY, { credentials: "include" });
  assert.equal(JSON.parse(server.requests[1].body).refresh_token, undefined);
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

test("a request that is given up leaves the prompt to the others", async () => {
  const { prompt, opened } = held();
  const call = withStepUp(new Server().fetch, { prompt });
  const controller = new AbortController();
  const reason = new Error("gone");
  const gone = assert.rejects(
    call(PAY, bearer("old", { signal: controller.signal })),
    (e) => e === reason,
  );
  const stays = call(PAY, bearer());
  await soon();
  controller.abort(reason);
  await gone;
  assert.equal(opened[0].signal.aborted, false);
  opened[0].settle(SESSION);
  assert.equal((await stays).status, 200);
});

test("the prompt closes when the last request is given up, and the next one asks anew", async () => {
  const { prompt, opened } = held();
  const call = withStepUp(new Server().fetch, { prompt });
  const controller = new AbortController();
  const request = new Request(PAY, bearer("old", { signal: controller.signal }));
  const gone = assert.rejects(call(request), { name: "AbortError" });
  await soon();
  controller.abort();
  await gone;
  assert.equal(opened[0].signal.aborted, true);
  const next = call(PAY, bearer());
  opened[0].settle(SESSION);
  await soon();
  assert.equal(opened.length, 2);
  opened[1].settle(SESSION);
  assert.equal((await next).status, 200);
});

test("whoever was given up before the prompt asks nobody", async () => {
  const { prompt, opened } = held();
  const controller = new AbortController();
  const server = new Server({
    "/pay": () => {
      controller.abort();
      return challenge();
    },
  });
  const fetch = (input, { signal, ...init }) => server.fetch(input, init);
  const sent = withStepUp(fetch, { prompt })(PAY, bearer("old", { signal: controller.signal }));
  await assert.rejects(sent, { name: "AbortError" });
  await soon();
  assert.equal(opened.length, 0);
});

test("nothing that a server answers makes it throw", async (context) => {
  context.mock.method(console, "warn", () => {});
  const values = [
    null,
    0,
    "",
    "x",
    [],
    [null],
    {},
    { a: 1 },
    true,
    "/x",
    "http://",
    "//evil.example",
  ];
  const pick = () => values[Math.floor(Math.random() * values.length)];
  for (let n = 0; n < 400; n++) {
    const step_up = {
      start_uri: pick(),
      verify_uri: pick(),
      methods: pick(),
      uris: pick(),
      status_uri: pick(),
    };
    const members = {
      step_up: Math.random() < 0.2 ? pick() : step_up,
      amr: pick(),
      unmet: pick(),
      acr_values: pick(),
    };
    const server = async () => challenge(members);
    const call = withStepUp(server, { prompt: async () => SESSION });
    assert.equal((await call(PAY, bearer())).status, 401, JSON.stringify(members));
  }
});
