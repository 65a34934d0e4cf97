// Descope's own web component in the dialog, on a page with a strict policy and a nonce. Its flow,
// screens and components are the emulator's.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { SITE, User, refusal, status } from "./browser.mjs";

const COMPONENT = readFileSync(
  new URL("node_modules/@descope/web-component/dist/index.js", import.meta.url),
  "utf-8",
);
const NONCE = "n0nce";
const POLICY = [
  "default-src 'none'",
  `script-src 'self' 'nonce-${NONCE}' 'strict-dynamic'`,
  `style-src 'self' 'nonce-${NONCE}'`,
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'self'",
].join("; ");
const HTML = `<!doctype html><html lang="en"><title>Shop</title><main><button id="pay">Pay</button>
<output></output></main>
<script nonce="${NONCE}" src="/flow/component.js"></script>
<script nonce="${NONCE}" type="module" src="/flow/page.js"></script>`;

// The page and its scripts.
const files = (projectId, call) => ({
  "/flow": [HTML, "text/html", { "Content-Security-Policy": POLICY }],
  "/flow/component.js": [COMPONENT, "text/javascript"],
  "/flow/page.js": [
    `import { withStepUp } from "/step-up/stepup.js";
     const call = withStepUp(fetch, { projectId: "${projectId}", nonce: "${NONCE}", ${call} });
     const output = document.querySelector("output");
     const headers = { "Content-Type": "application/json" };
     document.querySelector("#pay").onclick = async () => {
       output.value = await call("/pay", { method: "POST", headers, body: "1" })
         .then(({ status }) => status, ({ code }) => code);
     };`,
    "text/javascript",
  ],
});

async function open(t, call, without = () => false) {
  const user = await User.open(t);
  const own = files(user.tokens.project_id, call);
  const asked = [];
  await user.page.route("**/*", async (route) => {
    const url = new URL(route.request().url());
    if (url.origin !== SITE) asked.push(url.href);
    if (url.origin !== SITE || without(url.pathname)) return route.abort();
    if (!own[url.pathname]) return route.fallback();
    const [body, contentType, headers] = own[url.pathname];
    await route.fulfill({ body, contentType, headers });
  });
  await user.mock({
    "/pay": [refusal(["email"], { flow_id: "step-up" }), {}],
    "/step-up/status": status(["email"]),
    "/step-up/otp/start": { destination: "a**@example.com" },
    "/step-up/otp/verify": {},
  });
  await user.page.goto(`${SITE}/flow`);
  return { user, asked };
}
// The emulator is mounted under a path: there a base for the components is a whole URL.
const UI = "npm/@descope/web-components-ui@3.14.1/dist/umd/index.js";
const WHERE = Object.entries({
  baseUrl: `${SITE}/descope`,
  baseStaticUrl: `${SITE}/descope/pages`,
  baseCdnUrl: `${SITE}/descope/${UI}`,
})
  .map(([name, url]) => `${name}: "${url}"`)
  .join();

test("the flow runs on a page with a nonce, from the places that it was given", async (t) => {
  const { user, asked } = await open(t, WHERE);
  await user.page.evaluate(
    ([session, refresh]) => {
      localStorage.setItem("DS", session);
      localStorage.setItem("DSR", refresh);
    },
    [user.tokens.session_token, user.tokens.refresh_token],
  );
  await user.page.locator("#pay").click();
  await user.page.locator("#otp-email").click();
  await user.page.locator("descope-wc [name=code]").fill(await code(user));
  await user.page.locator("descope-wc #submit").click();
  await user.page.waitForFunction(() => document.querySelector("output").value === "200");
  assert.deepEqual(asked, []);
  assert.deepEqual(
    user.problems.filter((problem) => problem.includes("Content Security Policy")),
    [],
  );
});

async function code(user) {
  for (let n = 0; n < 100; n++) {
    const mail = await user.mail();
    if (mail?.code) return mail.code;
    await new Promise((resume) => setTimeout(resume, 50));
  }
  throw new Error("No code was sent.");
}

test("a component whose files cannot be had gives way after 8 seconds", async (t) => {
  const { user } = await open(t, WHERE, (path) => path.includes("/pages/"));
  user.page.setDefaultTimeout(15000);
  const started = Date.now();
  await user.page.locator("#pay").click();
  await user.input.waitFor();
  const seconds = (Date.now() - started) / 1000;
  assert.ok(seconds > 7.5, `${seconds}`);
  await user.alert.getByText("That did not load. Confirm another way.").waitFor();
  await user.input.fill("123456");
  await user.button("Confirm").click();
  await user.page.waitForFunction(() => document.querySelector("output").value === "200");
});
