// Redirects, by Node's own fetch and a real server: what was done is not done again.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { SESSION, byEmail, problem, stepup } from "./server.mjs";

const { withStepUp } = stepup;
let site;
let other;
let seen = [];
const answers = {};

function listen() {
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    const { method, url } = request;
    const bearer = request.headers.authorization?.slice(7);
    seen.push({ step: `${method} ${url}`, body, bearer, type: request.headers["content-type"] });
    const [status, headers, json] = answers[url]?.({ bearer }) ?? [
      ...(url.startsWith("/step-up/")
        ? [200, {}, SESSION]
        : bearer === "new"
          ? [200, {}, `${method} ${url}`]
          : [401, {}, problem()]),
    ];
    response.writeHead(status, { "Content-Type": "application/json", ...headers });
    response.end(JSON.stringify(json));
  });
  return new Promise((open) => {
    server.listen(0, "127.0.0.1", () =>
      open([server, `http://127.0.0.1:${server.address().port}`]),
    );
  });
}

const servers = [];
before(async () => {
  for (const name of ["site", "other"]) {
    const [server, url] = await listen();
    servers.push(server);
    if (name === "site") site = url;
    else other = url;
  }
  globalThis.location = new URL(site);
});
after(() => servers.map((server) => server.close()));

const redirect = (status, location) => () => [status, { Location: location }];
async function call(path, { prompt = byEmail, ...init } = {}) {
  seen = [];
  const headers = { Authorization: "Bearer old", "Content-Type": "text/plain", ...init.headers };
  const response = await withStepUp(fetch, { prompt })(site + path, {
    method: "POST",
    body: "cart",
    ...init,
    headers,
  });
  return response;
}
const steps = () => seen.map(({ step }) => step).filter((step) => !step.includes("step-up"));

for (const status of [301, 302, 303]) {
  test(`a POST that was carried out and answered ${status} is not sent again`, async () => {
    answers["/orders"] = redirect(status, "/orders/1");
    const response = await call("/orders");
    assert.equal(await response.json(), "GET /orders/1");
    assert.deepEqual(steps(), ["POST /orders", "GET /orders/1", "GET /orders/1"]);
    const { body, type, bearer } = seen.at(-1);
    assert.deepEqual([body, type, bearer], ["", undefined, "new"]);
  });
}

test("neither is one that was given as a Request", async () => {
  answers["/orders"] = redirect(303, "/orders/1");
  seen = [];
  const headers = { Authorization: "Bearer old" };
  const request = new Request(`${site}/orders`, { method: "POST", body: "cart", headers });
  const response = await withStepUp(fetch, { prompt: byEmail })(request);
  assert.equal(await response.json(), "GET /orders/1");
  assert.deepEqual(steps(), ["POST /orders", "GET /orders/1", "GET /orders/1"]);
});

test("a stream that was carried out need not be sent again", async () => {
  answers["/orders"] = redirect(303, "/orders/1");
  const body = new Blob(["cart"]).stream();
  const response = await call("/orders", { body, duplex: "half" });
  assert.equal(response.status, 200);
});

test("of a GET the last request is repeated, not the link that led there", async () => {
  answers["/link?t=1"] = redirect(302, "/account");
  const response = await call("/link?t=1", { method: "GET", body: undefined });
  assert.equal(await response.json(), "GET /account");
  assert.deepEqual(steps(), ["GET /link?t=1", "GET /account", "GET /account"]);
});

test("of a chain every step is done once", async () => {
  answers["/orders"] = redirect(303, "/cart/clear");
  answers["/cart/clear"] = redirect(302, "/orders/1");
  await call("/orders");
  assert.deepEqual(steps(), ["POST /orders", "GET /cart/clear", "GET /orders/1", "GET /orders/1"]);
});

test("where only a slash was added nothing is sent again: the POST may have been carried out", async () => {
  answers["/pay"] = redirect(307, "/pay/");
  const prompt = () => assert.fail("The user is not to be asked.");
  const response = await call("/pay", { prompt });
  assert.deepEqual([response.status, response.redirected], [401, true]);
  assert.deepEqual(steps(), ["POST /pay", "POST /pay/"]);
  const read = await call("/pay", { method: "GET", body: undefined });
  assert.equal(await read.json(), "GET /pay/");
});

test("a redirect to another origin asks for nothing, nor does one that comes back from it", async () => {
  const prompt = () => assert.fail("The user is not to be asked.");
  answers["/away"] = redirect(302, `${other}/pay`);
  assert.equal((await call("/away", { prompt, method: "GET", body: undefined })).status, 401);
  assert.equal(seen.at(-1).bearer, undefined);
});

test("a foreign page that redirects to the site asks for nothing", async () => {
  answers["/back"] = redirect(302, `${site}/transfer`);
  const prompt = () => assert.fail("The user is not to be asked.");
  const response = await withStepUp(fetch, { prompt })(`${other}/back`);
  assert.equal(response.status, 401);
});

for (const status of [301, 302, 303, 307, 308]) {
  test(`a step that is answered ${status} is not led on`, async () => {
    answers["/step-up/otp/verify"] = redirect(status, `${other}/steal`);
    await assert.rejects(call("/guarded"), { name: "StepUpFailed", code: "network" });
    delete answers["/step-up/otp/verify"];
    assert.equal(seen.at(-1).step, "POST /step-up/otp/verify");
  });
}
