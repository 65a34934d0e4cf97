// The dialog with a Descope flow: its component, what it is given, and what happens without it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SESSION, User, refusal, status } from "./browser.mjs";

const mocks = {
  "/pay": [refusal(["email"]), {}],
  "/step-up/status": status(["email"]),
  "/step-up/otp/start": { delivery: "email", destination: "a**@example.com" },
  "/step-up/otp/verify": SESSION,
};

// Descope's component as the dialog sees it: attributes in, events out.
const descope = () =>
  addEventListener("DOMContentLoaded", () =>
    customElements.define(
      "descope-wc",
      class extends HTMLElement {
        connectedCallback() {
          const names = ["project-id", "flow-id", "base-url", "base-static-url", "base-cdn-url"];
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
    null,
    null,
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

test("a flow that does not load gives way to the dialog's own methods", async (t) => {
  const user = await User.open(t, { mocks: flowing, init: descope });
  await user.page.clock.install();
  await user.page.evaluate(withFlow, [{}, {}]);
  await user.pay();
  await user.page.getByRole("button", { name: "Finish the flow" }).waitFor();
  await user.page.clock.runFor(7900);
  assert.equal(await user.input.count(), 0);
  await user.page.clock.runFor(200);
  await user.alert.getByText("That did not load. Confirm another way.").waitFor();
  await user.input.waitFor();
  assert.equal(await user.page.locator("descope-wc").count(), 0);
  assert.deepEqual(await user.inspect("descope-flow-missing"), []);
  await user.input.fill("123456");
  await user.button("Confirm").click();
  assert.equal(await user.outcome(), "Paid.");
});

test("several methods are chosen from then", async (t) => {
  const two = { "/pay": [refusal(["email", "sms"], { flow_id: "step-up" }), {}] };
  const user = await User.open(t, {
    mocks: { ...mocks, ...two, "/step-up/status": status(["email", "sms"]) },
    init: descope,
  });
  await user.page.clock.install();
  await user.page.evaluate(withFlow, [{}, {}]);
  await user.pay();
  await user.page.getByRole("button", { name: "Finish the flow" }).waitFor();
  await user.page.clock.runFor(8100);
  await user.method("Text me a code").waitFor();
  await user.alert.getByText("That did not load.").waitFor();
});

test("where there is no other method it says so and ends", async (t) => {
  const only = { "/pay": refusal([], { flow_id: "step-up" }), "/step-up/status": status([]) };
  const user = await User.open(t, { mocks: { ...mocks, ...only }, init: descope });
  await user.page.clock.install();
  await user.page.evaluate(withFlow, [{}, {}]);
  await user.pay();
  await user.page.getByRole("button", { name: "Finish the flow" }).waitFor();
  await user.page.clock.runFor(8100);
  await user.dialog.getByText("That did not load.").first().waitFor();
  await user.button("Close").first().click();
  assert.equal(await user.outcome(), "StepUpFailed: flow_unavailable");
});

test("a flow that is ready may take its time", async (t) => {
  const user = await User.open(t, { mocks: flowing, init: descope });
  await user.page.clock.install();
  await user.page.evaluate(withFlow, [{}, {}]);
  await user.pay();
  const button = user.page.getByRole("button", { name: "Finish the flow" });
  await button.waitFor();
  await user.page.evaluate(() =>
    document.querySelector("descope-wc").dispatchEvent(new CustomEvent("ready")),
  );
  await user.page.clock.runFor(60000);
  await button.click();
  assert.equal(await user.outcome(), "Paid.");
});

test("a dialog that was closed does not open again for a flow that did not load", async (t) => {
  const user = await User.open(t, { mocks: flowing, init: descope });
  await user.page.clock.install();
  await user.page.evaluate(withFlow, [{}, {}]);
  await user.pay();
  await user.page.getByRole("button", { name: "Finish the flow" }).waitFor();
  await user.page.keyboard.press("Escape");
  assert.equal(await user.outcome(), "StepUpCancelled: cancelled");
  await user.page.clock.runFor(9000);
  assert.equal(await user.dialog.count(), 0);
  assert.deepEqual(user.posts, ["/pay", "/step-up/status"]);
  assert.deepEqual(user.problems, []);
});

test("the flow gets the places of its files, and the page's nonce", async (t) => {
  const user = await User.open(t, { mocks: flowing, init: descope });
  const baseStaticUrl = "https://static.example/pages";
  await user.page.evaluate(withFlow, [
    {},
    { baseStaticUrl, baseCdnUrl: "https://cdn.example", nonce: "n1" },
  ]);
  await user.pay();
  await user.page.getByRole("button", { name: "Finish the flow" }).waitFor();
  assert.deepEqual(await user.page.evaluate(() => window.flow), [
    "P2x",
    "step-up",
    null,
    baseStaticUrl,
    "https://cdn.example",
  ]);
  const nonce = () => document.querySelector("descope-wc").getAttribute("nonce");
  assert.equal(await user.page.evaluate(nonce), "n1");
});
