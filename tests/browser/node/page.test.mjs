// The page: what its requests get, with cookies, across origins, in parallel, by Descope's flow.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PLAIN, SESSION, SITE, User, elsewhere, emulator, refusal, status } from "./browser.mjs";

const mocks = {
  "/pay": [refusal(["email"]), {}],
  "/step-up/status": status(["email"]),
  "/step-up/otp/start": { delivery: "email", destination: "a**@example.com" },
  "/step-up/otp/verify": SESSION,
};

test("two requests at a time share one dialog, and both get through", async (t) => {
  const user = await User.open(t);
  const paid = user.page.evaluate(async () => {
    const answers = await Promise.all([window.page.pay(), window.page.pay("/pay?second")]);
    return Promise.all(answers.map((answer) => answer.json()));
  });
  await user.method("Email me a code").click();
  await user.input.waitFor();
  await user.input.fill(await user.code());
  assert.equal(await user.page.locator("step-up-dialog").count(), 1);
  await user.button("Confirm").click();
  const shirt = { paid: { shirt: "M" }, amr: ["email"] };
  assert.deepEqual(await paid, [shirt, shirt]);
  const ours = ["/step-up/status", "/step-up/otp/start", "/step-up/otp/verify"];
  assert.deepEqual(
    user.posts.filter((path) => path !== "/pay"),
    ours,
  );
});

for (const [name, site] of [
  ["bare problems", SITE],
  ["problems in detail, and one method alone", PLAIN],
]) {
  test(`another origin, with a bearer, an unreadable challenge header and ${name}`, async (t) => {
    const user = await User.open(t);
    const signedIn = await emulator("sign-in", { login_id: user.login }, site);
    const tokens = { sessionToken: signedIn.session_token, refreshToken: signedIn.refresh_token };
    const paid = user.page.evaluate(
      async ([url, tokens]) => {
        const { page } = window;
        const given = [];
        page.fetch = page.stepup.withStepUp(fetch, {
          getTokens: () => tokens,
          onTokens: (fresh) => given.push(fresh),
        });
        const headers = { Authorization: `Bearer ${tokens.sessionToken}` };
        // As for a server that does not expose its challenge.
        const get = Headers.prototype.get;
        Headers.prototype.get = function (name) {
          return /www-authenticate/i.test(name) ? null : get.call(this, name);
        };
        const answer = await page.pay(url, { headers });
        return { ...(await answer.json()), given };
      },
      [`${elsewhere(site)}/pay`, tokens],
    );
    if (site === SITE) await user.method("Email me a code").click();
    await user.input.waitFor();
    await user.input.fill(await user.code(site));
    await user.button("Confirm").click();
    const { given, ...rest } = await paid;
    assert.deepEqual(rest, { paid: { shirt: "M" }, amr: ["email"] });
    const [{ sessionToken, refreshToken, session }] = given;
    assert.notEqual(sessionToken, tokens.sessionToken);
    assert.ok(refreshToken);
    assert.equal(session.stepped_up, true);
    assert.deepEqual(user.problems, []);
  });
}

test("a challenge for a factor offers what meets it", async (t) => {
  const user = await User.open(t);
  const refused = user.page.evaluate(() => window.page.pay("/refund").catch((error) => error.code));
  await user.dialog.getByText("Your account has no way to confirm it’s you.").waitFor();
  await user.button("Close").first().click();
  assert.equal(await refused, "no_step_up_method");
  assert.deepEqual(user.posts, ["/refund", "/step-up/status"]);
});

test("another tab that signs another user in ends the step-up without a second try", async (t) => {
  const user = await User.open(t);
  await user.pay();
  await user.method("Email me a code").waitFor();
  user.login = `bob@${user.login.split("@")[1]}`;
  await user.signIn();
  await user.method("Email me a code").click();
  await user.input.waitFor();
  await user.input.fill(await user.code());
  await user.button("Confirm").click();
  assert.equal(await user.outcome(), "StepUpFailed: subject_mismatch");
  assert.equal(user.posts.filter((path) => path === "/pay").length, 1);
});

test("a request that is given up closes the dialog", async (t) => {
  const user = await User.open(t, { mocks });
  const reason = user.page.evaluate(async () => {
    window.controller = new AbortController();
    return window.page
      .pay("/pay", { signal: window.controller.signal })
      .catch((error) => error.name);
  });
  await user.dialog.waitFor();
  await user.page.evaluate(() => window.controller.abort());
  assert.equal(await reason, "AbortError");
  await user.page.waitForFunction(() => !document.querySelector("step-up-dialog"));
});

test("a stream is reported before the user is bothered", async (t) => {
  const user = await User.open(t);
  // A browser lets no stream through HTTP/1.1, so the answer comes from here.
  const code = await user.page.evaluate(
    async (problem) => {
      const server = async () => new Response(JSON.stringify(problem), { status: 401 });
      const body = new Blob(["{}"]).stream();
      const call = window.page.stepup.withStepUp(server);
      return call("/pay", { method: "POST", body, duplex: "half" }).catch((error) => error.name);
    },
    refusal(["email"]),
  );
  assert.equal(code, "StepUpBodyNotReplayable");
  assert.equal(await user.dialog.count(), 0);
});

test("the script is loaded once, by the URL and the hash that the server gave", async (t) => {
  const user = await User.open(t);
  await user.byEmail();
  assert.equal(user.requests.filter((one) => one.includes("stepup.js")).length, 1);
  const [src, integrity] = await user.page.evaluate(() => {
    const script = document.querySelector("script[integrity]");
    return [script.getAttribute("src"), script.integrity];
  });
  assert.match(src, /^\/step-up\/stepup\.js\?v=[0-9a-f]{16}$/);
  assert.match(integrity, /^sha384-/);
});

test("an order that was placed and led to a guarded page is placed once", async (t) => {
  const user = await User.open(t);
  const ordered = user.page.evaluate(async () => {
    const shown = await fetch("/orders", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: '"before"',
    });
    const answer = await window.page.pay("/orders");
    return [shown.status, answer.status, await answer.json()];
  });
  await user.method("Email me a code").click();
  await user.input.waitFor();
  await user.input.fill(await user.code());
  await user.button("Confirm").click();
  const [before, status, page] = await ordered;
  assert.deepEqual([before, status], [401, 200]);
  assert.deepEqual(page.last, { shirt: "M" });
  assert.deepEqual(
    user.requests.filter((one) => one.includes("/orders")),
    ["POST /orders", "GET /orders/last", "POST /orders", "GET /orders/last", "GET /orders/last"],
  );
});

test("another service with a key of its own gets no token, no dialog and no second try", async (t) => {
  const user = await User.open(t);
  const asked = [];
  await user.page.route(`${elsewhere(SITE)}/weather/**`, async (route) => {
    const headers = { "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*" };
    if (route.request().method() === "OPTIONS") return route.fulfill({ headers });
    asked.push([route.request().headers().authorization, route.request().postData()]);
    await route.fulfill({ status: 401, headers, json: refusal(["email"]) });
  });
  const status = await user.page.evaluate(
    async ([url, sessionToken]) => {
      const { page } = window;
      const getTokens = () => ({ sessionToken, refreshToken: "the-refresh-token" });
      const call = page.stepup.withStepUp(fetch, { getTokens });
      const headers = { Authorization: "Bearer the-key" };
      return (await call(url, { headers })).status;
    },
    [`${elsewhere(SITE)}/weather/today`, user.tokens.session_token],
  );
  assert.equal(status, 401);
  assert.deepEqual(asked, [["Bearer the-key", null]]);
  assert.equal(await user.dialog.count(), 0);
});
