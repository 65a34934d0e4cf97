// Bodies and headers of the request that is sent again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SESSION, SITE, Server, answer, bearer, byEmail, challenge, stepup } from "./server.mjs";

// The page is on the same origin.
globalThis.location = new URL(SITE);
const { StepUpBodyNotReplayable, withStepUp } = stepup;
const PAY = `${SITE}/pay`;

async function* pieces() {
  yield "{}";
}
const stream = () => new Blob(["{}"]).stream();
for (const [name, input, init] of [
  ["a stream", PAY, () => bearer("old", { body: stream(), duplex: "half" })],
  ["an async iterable", PAY, () => bearer("old", { body: pieces(), duplex: "half" })],
]) {
  test(`a body that cannot be sent again is reported before the user is asked: ${name}`, async () => {
    const server = new Server();
    const prompt = () => assert.fail("The user is not to be asked.");
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
