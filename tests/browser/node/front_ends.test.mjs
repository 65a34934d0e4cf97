// The scripts of docs/how-to/front-ends.md, as they are written there, on pages of an app that is made of it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { FRONT_ENDS, User } from "./browser.mjs";
import { REACT, REACT_DOM } from "./react.mjs";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf-8");
const PAGE = read("../../../docs/how-to/front-ends.md");
const VENDOR = {
  "htmx.js": read("node_modules/htmx.org/dist/htmx.min.js"),
  "axios.js": read("node_modules/axios/dist/axios.min.js"),
  "react.mjs": REACT,
  "react-dom.mjs": REACT_DOM,
};

// A user on a page with this body; the app behind it is the served one.
async function open(t, body, more = {}) {
  const user = await User.open(t, { site: FRONT_ENDS });
  for (const [name, script] of Object.entries({ ...VENDOR, ...more })) {
    await user.page.route(`${FRONT_ENDS}/vendor/${name}`, (route) =>
      route.fulfill({ body: script, contentType: "text/javascript" }),
    );
  }
  const html = `<!doctype html><html lang="en"><title>Shop</title><main>${body}</main>`;
  await user.page.route(`${FRONT_ENDS}/page`, (route) =>
    route.fulfill({ body: html, contentType: "text/html" }),
  );
  await user.page.goto(`${FRONT_ENDS}/page`);
  return user;
}

async function confirm(user) {
  await user.input.waitFor();
  await user.input.fill(await user.code());
  await user.button("Confirm").click();
}

const HTMX = `<script src="/vendor/htmx.js"></script>
  <script type="module" src="/static/htmx-step-up.js"></script>
  <form hx-post="/fragment" hx-target="#result"><input name="shirt" value="M &amp; L" /><button>Pay</button></form>
  <div id="result"></div>`;

test("HTMX: the form is sent again, and its target is filled", async (t) => {
  const user = await open(t, HTMX);
  await user.page.getByRole("button", { name: "Pay" }).click();
  await confirm(user);
  await user.page.getByText("Paid shirt=M%20%26%20L by email").waitFor();
  assert.equal(user.posts.filter((path) => path === "/fragment").length, 2);
});

test("HTMX: a cancel leaves the page as it is", async (t) => {
  const user = await open(t, HTMX);
  await user.page.getByRole("button", { name: "Pay" }).click();
  await user.input.waitFor();
  await user.page.keyboard.press("Escape");
  await user.page.waitForFunction(() => !document.querySelector("step-up-dialog"));
  assert.equal(await user.page.locator("#result").textContent(), "");
  assert.equal(user.posts.filter((path) => path === "/fragment").length, 1);
  assert.deepEqual(
    user.problems.filter((one) => !one.includes("Response Status Error Code 401")),
    [],
  );
});

const AXIOS = `<script src="/vendor/axios.js"></script>
  <script type="module" src="/static/axios-step-up.js"></script>`;
const send = (url, init) =>
  axios.post(url, init).then(
    ({ status, data }) => ({ status, data }),
    (error) => ({ code: error.code, status: error.response?.status }),
  );

test("axios: the request is sent again with its body", async (t) => {
  const user = await open(t, AXIOS);
  const paid = user.page.evaluate(`(${send})("/checkout", { shirt: "M" })`);
  await confirm(user);
  const { status, data } = await paid;
  assert.deepEqual([status, data], [200, { paid: '{"shirt":"M"}', amr: ["email"] }]);
});

test("axios: two requests share one dialog", async (t) => {
  const user = await open(t, AXIOS);
  const paid = user.page.evaluate(
    `Promise.all([(${send})("/checkout", 1), (${send})("/checkout", 2)])`,
  );
  await confirm(user);
  assert.deepEqual(
    (await paid).map(({ status }) => status),
    [200, 200],
  );
  assert.equal(user.posts.filter((path) => path === "/step-up/otp/start").length, 1);
});

test("axios: a cancel and other errors are rejections", async (t) => {
  const user = await open(t, AXIOS);
  const cancelled = user.page.evaluate(`(${send})("/checkout", 1)`);
  await user.input.waitFor();
  await user.page.keyboard.press("Escape");
  assert.deepEqual(await cancelled, { code: "cancelled", status: undefined });
  const missing = await user.page.evaluate(`(${send})("/nowhere", 1)`);
  assert.equal(missing.status, 404);
});

test("XMLHttpRequest: an upload reports its progress, and is sent again", async (t) => {
  const user = await open(t, `<script type="module" src="/static/upload.js"></script>`);
  const sent = user.page.evaluate(async () => {
    const { upload } = await import("/static/upload.js");
    const body = new FormData();
    body.set("file", new Blob(["x".repeat(1000)]), "receipt.txt");
    const seen = [];
    const onProgress = ({ loaded }) => seen.push(loaded);
    const response = await upload("/receipts", { method: "POST", body, onProgress });
    return [response.status, await response.json(), seen.length > 1];
  });
  await confirm(user);
  assert.deepEqual(await sent, [200, 1000, true]);
});

test("a navigation is sent to the page that asks, and comes back", async (t) => {
  const user = await open(t, `<a href="/account?tab=orders%20%26%20more">Account</a>`);
  await user.page.getByRole("link").click();
  await confirm(user);
  await user.page.waitForURL(`${FRONT_ENDS}/account?tab=orders%20%26%20more`);
  assert.equal(await user.page.title(), "Account orders & more");
});

test("it goes home when the user does not confirm", async (t) => {
  const user = await open(t, `<a href="/account">Account</a>`);
  await user.page.getByRole("link").click();
  await user.input.waitFor();
  await user.page.keyboard.press("Escape");
  await user.page.waitForURL(`${FRONT_ENDS}/`);
});

for (const next of [
  "//evil.example/",
  "https://evil.example/",
  "javascript:alert(1)",
  "/\\evil.example",
]) {
  test(`it does not go to ${next}`, async (t) => {
    const user = await open(t, "");
    const foreign = [];
    user.page.on("request", (request) => {
      if (!request.url().startsWith(FRONT_ENDS)) foreign.push(request.url());
    });
    await user.page.goto(`${FRONT_ENDS}/confirm?next=${encodeURIComponent(next)}`);
    await user.page.waitForURL(`${FRONT_ENDS}/`);
    assert.deepEqual(foreign, []);
  });
}

const jsx = [...PAGE.matchAll(/^```jsx\n(.*?)^```$/gms)].map(([, code]) => code);
// What TypeScript makes of a block: it also says whether the block can be read at all.
function compiled(code) {
  const folder = mkdtempSync(join(tmpdir(), "stepup-"));
  const tsc = fileURLToPath(new URL("node_modules/typescript/bin/tsc", import.meta.url));
  const options = ["--allowJs", "--jsx", "react", "--target", "es2022", "--module", "es2022"];
  try {
    writeFileSync(join(folder, "block.jsx"), code);
    const files = ["--outDir", join(folder, "out"), join(folder, "block.jsx")];
    execFileSync(process.execPath, [tsc, ...options, ...files], { stdio: "pipe" });
    return readFileSync(join(folder, "out", "block.js"), "utf-8");
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("the React component orders", async (t) => {
  const [component] = jsx.filter((code) => code.includes("createUseStepUp"));
  const module = compiled(component).replace('"react"', '"/vendor/react.mjs"');
  const body = `<div id="app"></div><output></output><script type="module">
    import { createElement } from "/vendor/react.mjs";
    import { createRoot } from "/vendor/react-dom.mjs";
    import { Checkout } from "/vendor/checkout.js";
    const onPlaced = ({ amr }) => { document.querySelector("output").value = amr; };
    createRoot(document.querySelector("#app")).render(createElement(Checkout, { onPlaced }));
  </script>`;
  const user = await open(t, body, { "checkout.js": module });
  await user.page.getByRole("button", { name: "Place the order" }).click();
  await user.input.waitFor();
  await user.page.keyboard.press("Escape");
  await user.page.getByRole("button", { name: "Not confirmed. Try again" }).click();
  await confirm(user);
  await user.page.waitForFunction(() => document.querySelector("output").value === "email");
  assert.deepEqual(user.problems, []);
});

// The other one runs with Descope's SDK, in the tests of its flow.
test("every JSX block can be compiled", () => {
  assert.equal(jsx.length, 2);
  for (const code of jsx) assert.match(compiled(code), /createElement/);
});
