// Callbacks that use the same function: nothing waits for the step-up that waits for it.
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
  soon,
  stepup,
} from "./server.mjs";

const { withStepUp } = stepup;
const PAY = `${SITE}/pay`;
const INFO = `${SITE}/info`;
globalThis.location = new URL(SITE);

const shop = () =>
  new Server({ "/info": ({ bearer }) => (bearer === "Bearer new" ? answer(200) : challenge()) });
const limit = { timeout: 5000 };

test("a prompt that sends a guarded request gets its 401", limit, async () => {
  const inner = [];
  const prompt = async (steps) => {
    inner.push((await call(INFO, bearer())).status);
    await steps.start("email");
    inner.push((await call(INFO, bearer())).status);
    return steps.verify("email", { code: "123456" });
  };
  const call = withStepUp(shop().fetch, { prompt });
  assert.equal((await call(PAY, bearer())).status, 200);
  assert.deepEqual(inner, [401, 401]);
});

test("so does one of another function, which would wait in line behind it", limit, async () => {
  const server = shop();
  const other = withStepUp(server.fetch, { prompt: byEmail });
  const inner = [];
  const prompt = async (steps) => {
    inner.push((await other(INFO, bearer())).status);
    return byEmail(steps);
  };
  assert.equal((await withStepUp(server.fetch, { prompt })(PAY, bearer())).status, 200);
  assert.deepEqual(inner, [401]);
});

for (const name of ["getTokens", "onTokens"]) {
  test(`${name} may send a guarded request`, limit, async () => {
    const inner = [];
    const callback = async () => {
      inner.push((await call(INFO, bearer())).status);
      return { sessionToken: "old", refreshToken: "refresh" };
    };
    const call = withStepUp(shop().fetch, { prompt: byEmail, [name]: callback });
    assert.equal((await call(PAY, bearer())).status, 200);
    assert.ok(inner.length > 0);
    assert.deepEqual([...new Set(inner)], [401]);
  });
}

test("the steps themselves may go through a function that steps up", limit, async () => {
  const refused = { "/step-up/otp/start": () => challenge() };
  const server = new Server(refused);
  const call = withStepUp(server.fetch, {
    prompt: byEmail,
    fetch: (...request) => call(...request),
  });
  await assert.rejects(call(PAY, bearer()), {
    name: "StepUpFailed",
    code: "insufficient_user_authentication",
  });
  assert.deepEqual(server.paths, ["/pay", "/step-up/otp/start"]);
});

test("a fetch that steps up may be wrapped again", limit, async () => {
  const inner = withStepUp(new Server().fetch, { prompt: byEmail });
  const outer = withStepUp(inner, { prompt: () => assert.fail("Asked twice.") });
  assert.equal((await outer(PAY, bearer())).status, 200);
});

test("a request that a prompt sends later waits for a minute at most", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const turn = () => new Promise((resume) => setImmediate(resume));
  let inner;
  const prompt = async (steps) => {
    await turn();
    await turn();
    inner = (await call(INFO, bearer())).status;
    return byEmail(steps);
  };
  const call = withStepUp(shop().fetch, { prompt });
  const paid = call(PAY, bearer());
  for (let n = 0; n < 20; n++) await turn();
  assert.equal(inner, undefined);
  context.mock.timers.tick(60000);
  assert.equal((await paid).status, 200);
  assert.equal(inner, 401);
});

test("a request of the page that is sent meanwhile takes part", limit, async () => {
  let settle;
  let prompts = 0;
  const prompt = () => {
    prompts++;
    return new Promise((resolve) => (settle = resolve));
  };
  const call = withStepUp(shop().fetch, { prompt });
  const first = call(PAY, bearer());
  await soon();
  const second = call(PAY, bearer());
  await soon();
  settle(SESSION);
  assert.deepEqual([(await first).status, (await second).status, prompts], [200, 200, 1]);
});

test("a callback that throws leaves nothing behind", limit, async () => {
  let fails = true;
  const prompt = (steps) => {
    if (fails) throw new RangeError("mine");
    return byEmail(steps);
  };
  const call = withStepUp(shop().fetch, { prompt });
  await assert.rejects(call(PAY, bearer()), RangeError);
  fails = false;
  assert.equal((await call(PAY, bearer())).status, 200);
});
