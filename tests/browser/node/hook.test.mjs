// use-stepup.js in React: given as an argument, or taken from the page's import map.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SITE, User, answers, refusal } from "./browser.mjs";
import { REACT, REACT_DOM } from "./react.mjs";

const html = (script, imports) => `<!doctype html><html lang="en"><title>Shop</title>
<main><h1>Shop</h1><div id="app"></div></main>
${imports ? `<script type="importmap">${JSON.stringify({ imports })}</script>` : ""}
<script type="module">${script}</script>`;

// A user on a page with this script; the app behind it is the served one.
async function open(t, script, { imports, mocks = {} } = {}) {
  const user = await User.open(t, { mocks });
  const files = { "vendor/react.mjs": REACT, "vendor/react-dom.mjs": REACT_DOM };
  for (const [path, body] of Object.entries(files)) {
    await user.page.route(`${SITE}/${path}`, (route) =>
      route.fulfill({ body, contentType: "text/javascript" }),
    );
  }
  await user.page.route(`${SITE}/hook`, (route) =>
    route.fulfill({ body: html(script, imports), contentType: "text/html" }),
  );
  await user.page.goto(`${SITE}/hook`);
  return user;
}

const checkout = (options) => `
  const { createElement: h } = React;
  window.seen = new Set();
  function Checkout() {
    const { stepUpFetch, pending, error, question } = useStepUp(${options});
    const [status, setStatus] = React.useState("");
    window.seen.add(stepUpFetch);
    const headers = { "Content-Type": "application/json" };
    const order = () =>
      stepUpFetch("/pay", { method: "POST", headers, body: '"M"' }).then(
        (response) => setStatus(response.status),
        () => {},
      );
    return h("div", {},
      h("button", { onClick: order, disabled: pending }, "Order"),
      h("output", {}, error ? error.code : status),
      question && h("form", {
        onSubmit: async (event) => {
          event.preventDefault();
          const code = event.target.elements.code.value;
          question.finish(await question.verify("email", { code }));
        },
      },
        h("button", { type: "button", onClick: () => question.start("email") }, "Send a code"),
        h("input", { name: "code", "aria-label": "Code" }),
        h("button", {}, "Go on"),
        h("button", { type: "button", onClick: question.cancel }, "Never mind"),
      ),
    );
  }
  window.root = createRoot(document.querySelector("#app"));
  window.root.render(h(React.StrictMode, {}, h(Checkout)));`;

const byArgument = (options = "") => `
  import * as React from "/vendor/react.mjs";
  import { createRoot } from "/vendor/react-dom.mjs";
  import { createUseStepUp } from "/step-up/use-stepup.js";
  const useStepUp = createUseStepUp(React);
  ${checkout(options)}`;
const IMPORTS = { react: "/vendor/react.mjs", "react-dom/client": "/vendor/react-dom.mjs" };
const byImportMap = `
  import * as React from "react";
  import { createRoot } from "react-dom/client";
  import { useStepUp } from "/step-up/use-stepup.js";
  ${checkout("")}`;

const order = (user) => user.page.getByRole("button", { name: "Order" });
const output = (user, words) =>
  user.page.waitForFunction((words) => document.querySelector("output").value === words, words);

for (const [name, script, imports] of [
  ["React is given", byArgument()],
  ["React is in the import map", byImportMap, IMPORTS],
]) {
  test(`a component orders, and its user confirms: ${name}`, async (t) => {
    const user = await open(t, script, { imports });
    await order(user).click();
    await user.method("Email me a code").click();
    await user.input.waitFor();
    assert.equal(await order(user).isDisabled(), true);
    await user.input.fill(await user.code());
    await user.button("Confirm").click();
    await output(user, "200");
    assert.equal(await order(user).isDisabled(), false);
    assert.equal(await user.page.evaluate(() => window.seen.size), 1, "The same for each render.");
    assert.deepEqual(user.problems, []);
  });
}

test("a cancel is an error, until the next request", async (t) => {
  const user = await open(t, byArgument());
  await order(user).click();
  await user.dialog.waitFor();
  await user.page.keyboard.press("Escape");
  await output(user, "cancelled");
  await order(user).click();
  await output(user, "");
  await user.dialog.waitFor();
});

test("the component asks by itself", async (t) => {
  const user = await open(t, byArgument("{ render: true }"));
  await order(user).click();
  await user.page.getByRole("button", { name: "Send a code" }).click();
  await user.page.waitForFunction(() => true);
  while (!(await user.mail())?.code) await new Promise((resume) => setTimeout(resume, 50));
  await user.page.getByRole("textbox", { name: "Code" }).fill(await user.code());
  await user.page.getByRole("button", { name: "Go on" }).click();
  await output(user, "200");
  assert.equal(await user.page.getByRole("textbox").count(), 0);
  assert.equal(await user.dialog.count(), 0);
});

test("its cancel is that of a dialog", async (t) => {
  const user = await open(t, byArgument("{ render: true }"));
  await order(user).click();
  await user.page.getByRole("button", { name: "Never mind" }).click();
  await output(user, "cancelled");
});

test("a component that goes away cancels its question", async (t) => {
  const user = await open(t, byArgument("{ render: true }"));
  const outcome = user.page.evaluate(async () => {
    await new Promise((resume) => setTimeout(resume, 300));
    const call = [...window.seen].at(-1);
    const outcome = call("/pay", { method: "POST", body: "1" }).catch(({ code }) => code);
    while (!document.querySelector("form")) await new Promise((resume) => setTimeout(resume, 20));
    window.root.unmount();
    return outcome;
  });
  assert.equal(await outcome, "cancelled");
});

test("options are read again for each request", async (t) => {
  const options = `{ prompt: window.prompts.shift(), getTokens: () => null }`;
  const script = `window.prompts = [() => null, ...Array(9).fill(async () => ({}))];${byArgument(options)}`;
  const user = await open(t, script, {
    mocks: answers(["email"], { "/pay": [refusal(["email"]), {}] }),
  });
  await order(user).click();
  await output(user, "200");
});

test("without React the hook says what to do", async (t) => {
  const user = await open(
    t,
    `import { useStepUp } from "/step-up/use-stepup.js";
     try { useStepUp(); } catch (error) { document.title = error.message; }`,
  );
  await user.page.waitForFunction(() => document.title !== "Shop");
  assert.match(await user.page.title(), /createUseStepUp\(React\)/);
});
