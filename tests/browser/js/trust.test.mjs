// Origins that may ask for a step-up, and answers that are no use.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SESSION, SITE, Server, bearer, byEmail, challenge, held, soon, stepup } from "./server.mjs";

const { withStepUp } = stepup;
const PAY = `${SITE}/pay`;
const STEPPED_UP = ["/pay", "/step-up/otp/start", "/step-up/otp/verify", "/pay"];


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
