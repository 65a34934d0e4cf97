// Shared by the scenarios: a page of the served app, its emulator, and what a user does there.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { after, before } from "node:test";
import { chromium } from "playwright-core";

export const SITE = process.env.STEPUP_SITE; // http://localhost:<port>, problems bare
export const FRONT_ENDS = process.env.STEPUP_FRONT_ENDS; // the app of docs/how-to/front-ends.md
export const PLAIN = process.env.STEPUP_PLAIN; // the same app, problems in FastAPI's `detail`
export const elsewhere = (site) => site.replace("localhost", "127.0.0.1"); // another origin
const FOLDER = process.env.STEPUP_SCREENSHOTS;
const axe = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf-8");

let browser;
let users = 0;
before(async () => {
  mkdirSync(FOLDER, { recursive: true });
  browser = await chromium.launch({
    executablePath: process.env.STEPUP_CHROMIUM,
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
});
after(() => browser.close());

export async function emulator(path, body, site = SITE) {
  const init = { method: body ? "POST" : "GET", body: body && JSON.stringify(body) };
  return (await fetch(`${site}/descope/_emulator/${path}`, init)).json();
}

// The refusal of the contract, for what the served app does not have mounted.
const uris = {
  totp: { verify_uri: "/step-up/totp/verify" },
  passkey: { start_uri: "/step-up/passkey/start", finish_uri: "/step-up/passkey/finish" },
  magiclink: { start_uri: "/step-up/magiclink/start", verify_uri: "/step-up/magiclink/verify" },
  enchantedlink: {
    start_uri: "/step-up/enchantedlink/start",
    poll_uri: "/step-up/enchantedlink/poll",
  },
};
export const refusal = (methods, members) => ({
  status: 401,
  code: "insufficient_user_authentication",
  unmet: [{ requirement: "step_up", reason: "missing" }],
  step_up: {
    start_uri: "/step-up/otp/start",
    verify_uri: "/step-up/otp/verify",
    status_uri: "/step-up/status",
    methods,
    uris,
    ...members,
  },
});
const places = { email: "a**@example.com", sms: "+49*****89", magiclink: "a**@example.com" };
export const status = (methods, members) => ({
  signed_in: true,
  stepped_up: false,
  expires_at: 1000,
  enroll_uri: null,
  methods: methods.map((method) => ({ method, destination: places[method] ?? null })),
  ...members,
});
export const SESSION = {
  session_token: null,
  refresh_token: null,
  expires_at: 2000,
  subject: "U2",
};

// Answers of a server that offers these methods.
export const answers = (methods, more) => ({
  "/pay": [refusal(methods), {}],
  "/step-up/status": status(methods),
  "/step-up/otp/start": { delivery: "email", destination: "a**@example.com" },
  "/step-up/otp/verify": SESSION,
  ...more,
});

export class User {
  // A signed-in user's browser on the page; `mocks` are answers that the page gets in place of the app's.
  static async open(t, { mocks = {}, init, site = SITE, ...options } = {}) {
    const context = await browser.newContext({ locale: "en", ...options });
    t.after(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(5000);
    const user = new User(context, page, `ann@shop${++users}.example.com`, site);
    await user.signIn();
    await user.mock(mocks);
    if (init) await page.addInitScript(init);
    await page.goto(site);
    if (site === SITE) await page.waitForFunction(() => window.page);
    return user;
  }

  constructor(context, page, login, site) {
    Object.assign(this, { context, page, login, site, problems: [], requests: [] });
    page.on("pageerror", (error) => this.problems.push(String(error)));
    page.on("console", (message) => {
      // Not Chromium's own note on each answer of 400 and above.
      const noted = message.text().startsWith("Failed to load resource");
      if (message.type() === "error" && !noted) this.problems.push(message.text());
    });
    page.on("request", (request) => {
      const { pathname } = new URL(request.url());
      if (request.method() !== "OPTIONS") this.requests.push(`${request.method()} ${pathname}`);
    });
  }

  get posts() {
    return this.requests.filter((one) => one.startsWith("POST ")).map((one) => one.slice(5));
  }

  async signIn() {
    const { project_id } = await emulator("project", undefined, this.site);
    const signedIn = await emulator("sign-in", { login_id: this.login }, this.site);
    this.tokens = { project_id, ...signedIn };
    const cookie = { url: this.site, httpOnly: true, secure: true };
    await this.context.addCookies([
      { name: "DS", value: this.tokens.session_token, ...cookie },
      { name: "DSR", value: this.tokens.refresh_token, ...cookie },
    ]);
  }

  async mail(site = this.site) {
    const path = `outbox?login_id=${encodeURIComponent(this.login)}`;
    return (await emulator(path, undefined, site)).messages.at(-1);
  }

  async code(site) {
    return (await this.mail(site)).code;
  }

  // Open the link of the last mail in another tab of the same browser.
  async openLink(method) {
    const tab = await this.context.newPage();
    await tab.goto(`${SITE}/site/link.html?method=${method}&t=${(await this.mail()).token}`);
    await tab.getByText("Go on in the other tab.").waitFor();
    await tab.close();
  }

  // What the emulator's API answers this user's browser, as Descope's SDK would call it.
  descope(path, body) {
    const bearer = `${this.tokens.project_id}:${this.tokens.refresh_token}`;
    return this.page.evaluate(
      async ([path, bearer, body]) => {
        const headers = { Authorization: `Bearer ${bearer}` };
        const init = { method: "POST", headers, body: JSON.stringify(body) };
        return (await fetch(`/descope/v1/auth/${path}`, init)).json();
      },
      [path, bearer, body],
    );
  }

  // A passkey in a virtual device of the browser; the emulator checks what it signs.
  async addPasskey() {
    const session = await this.context.newCDPSession(this.page);
    await session.send("WebAuthn.enable");
    await session.send("WebAuthn.addVirtualAuthenticator", {
      options: {
        protocol: "ctap2",
        transport: "internal",
        hasResidentKey: true,
        hasUserVerification: true,
        isUserVerified: true,
        automaticPresenceSimulation: true,
      },
    });
    const start = { loginId: this.login, origin: this.site };
    const { transactionId, options } = await this.descope("webauthn/update/start", start);
    const response = await this.page.evaluate(async (options) => {
      const { publicKey } = JSON.parse(options);
      const parsed = PublicKeyCredential.parseCreationOptionsFromJSON(publicKey);
      const credential = await navigator.credentials.create({ publicKey: parsed });
      return JSON.stringify(credential.toJSON());
    }, options);
    const finish = { transactionId, response };
    assert.deepEqual(await this.descope("webauthn/update/finish", finish), {});
  }

  // Answers by path: each is one, or a list that is used up but for its last.
  async mock(answers) {
    this.bodies = {};
    for (const [path, given] of Object.entries(answers)) {
      const left = [given].flat();
      this.bodies[path] = [];
      await this.page.route(`**${path}`, async (route) => {
        this.bodies[path].push(route.request().postDataJSON());
        const answer = left.length > 1 ? left.shift() : left[0];
        if (answer === "abort") return route.abort();
        const { status = 200, headers, ...json } = answer;
        await route.fulfill({ status, headers, json });
      });
    }
  }

  get dialog() {
    return this.page.getByRole("dialog");
  }

  button(name) {
    return this.dialog.getByRole("button", { name, exact: true });
  }

  method(name) {
    return this.dialog.getByRole("button", { name });
  }

  get input() {
    return this.dialog.getByRole("textbox", { name: "6-digit code" });
  }

  get alert() {
    return this.dialog.getByRole("alert");
  }

  async pay() {
    await this.page.getByRole("button", { name: "Pay" }).click();
  }

  async byEmail() {
    await this.pay();
    await this.method("Email me a code").click();
    await this.input.waitFor();
  }

  async outcome() {
    await this.page.waitForFunction(
      () => document.querySelector("#outcome").textContent.length > 1,
    );
    return this.page.textContent("#outcome");
  }

  // Where the keyboard is: the element, and in the dialog the one inside it.
  focused() {
    return this.page.evaluate(() => {
      const { activeElement } = document;
      const inner = activeElement.shadowRoot?.activeElement ?? activeElement;
      return inner.ariaLabel ?? (inner.id || inner.textContent);
    });
  }

  // Screenshots for people, and what axe finds, in both colour schemes.
  async inspect(name) {
    const found = [];
    for (const colorScheme of ["light", "dark"]) {
      await this.page.emulateMedia({ colorScheme });
      await this.page.waitForFunction(() => {
        const root = document.querySelector("step-up-dialog")?.shadowRoot ?? document;
        const over = ({ playState, effect }) =>
          playState === "finished" || effect.getTiming().iterations === Infinity;
        return root.getAnimations().every(over);
      });
      for (const [width, height] of [
        [1280, 800],
        [390, 780],
      ]) {
        await this.page.setViewportSize({ width, height });
        await this.page.screenshot({ path: `${FOLDER}/${name}-${colorScheme}-${width}.png` });
      }
      await this.page.evaluate(axe);
      const { violations } = await this.page.evaluate(() => window.axe.run());
      for (const { id, nodes } of violations)
        found.push(`${id}: ${nodes.map((node) => node.html)}`);
    }
    return found;
  }
}
