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
  ["problems in detail", PLAIN],
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
    await user.method("Email me a code").click();
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
  const refused = user.page.evaluate(() =>
    window.page.pay("/refund").catch((error) => error.code),
  );
  await user.dialog.getByText("Your account has no way to confirm it’s you.").waitFor();
  await user.button("Close").first().click();
  assert.equal(await refused, "no_step_up_method");
  assert.deepEqual(user.posts, ["/refund", "/step-up/status"]);
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

// Descope's component as the dialog sees it: attributes in, events out.
const descope = () =>
  addEventListener("DOMContentLoaded", () =>
    customElements.define(
      "descope-wc",
      class extends HTMLElement {
        connectedCallback() {
          const names = ["project-id", "flow-id", "base-url"];
          window.flow = names.map((name) => this.getAttribute(name));
          const button = this.appendChild(document.createElement("button"));
          button.textContent = "Finish the flow";
          button.onclick = () => {
            const detail = { sessionJwt: "new-session", refreshJwt: "new-refresh" };
            this.dispatchEvent(new CustomEvent("success", { detail }));
          };
        }
      },
    ),
  );
const withFlow = ([tokens, options]) => {
  const { page } = window;
  page.given = [];
  const onTokens = (fresh) => page.given.push(fresh);
  page.fetch = page.stepup.withStepUp(fetch, { onTokens, projectId: "P2x", ...options });
};
const flowing = { ...mocks, "/pay": [refusal(["email"], { flow_id: "step-up" }), {}] };

test("Descope's flow runs where the page has it", async (t) => {
  const user = await User.open(t, { mocks: flowing, init: descope });
  await user.page.evaluate(withFlow, [{}, { baseUrl: "https://auth.example" }]);
  await user.pay();
  await user.page.getByRole("button", { name: "Finish the flow" }).waitFor();
  assert.deepEqual(await user.page.evaluate(() => window.flow), [
    "P2x",
    "step-up",
    "https://auth.example",
  ]);
  assert.deepEqual(await user.inspect("descope-flow"), []);
  await user.page.getByRole("button", { name: "Finish the flow" }).click();
  assert.equal(await user.outcome(), "Paid.");
  const [{ sessionToken, refreshToken }] = await user.page.evaluate(() => window.page.given);
  assert.deepEqual([sessionToken, refreshToken], ["new-session", "new-refresh"]);
  assert.deepEqual(
    user.posts.filter((path) => path.includes("otp")),
    [],
  );
  assert.equal(await user.page.locator("descope-wc").count(), 0);
});

test("a flow that fails says so, and can be closed", async (t) => {
  const user = await User.open(t, { mocks: flowing, init: descope });
  await user.page.evaluate(withFlow, [{}, {}]);
  await user.pay();
  await user.page.getByRole("button", { name: "Finish the flow" }).waitFor();
  await user.page.evaluate(() =>
    document.querySelector("descope-wc").dispatchEvent(new CustomEvent("error", { detail: {} })),
  );
  await user.alert.getByText("That did not work. Try again.").waitFor();
  await user.page.keyboard.press("Escape");
  assert.equal(await user.outcome(), "StepUpCancelled: cancelled");
});

for (const [name, options] of [
  ["it is switched off", { flow: "never" }],
  ["no project is named", { projectId: undefined }],
]) {
  test(`the dialog asks where ${name}`, async (t) => {
    const user = await User.open(t, { mocks: flowing, init: descope });
    await user.page.evaluate(withFlow, [{}, options]);
    await user.pay();
    await user.input.waitFor();
  });
}
