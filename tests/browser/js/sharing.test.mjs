// Several requests share one prompt.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SESSION, SITE, Server, answer, bearer, challenge, held, soon, stepup } from "./server.mjs";

// The page is on the same origin.
globalThis.location = new URL(SITE);
const { StepUpCancelled, withStepUp } = stepup;
const PAY = `${SITE}/pay`;

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

test("a late 401 asks no question: the request is sent again with the session of the prompt", async () => {
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

test("a request that was given up before the prompt asks no question", async () => {
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
