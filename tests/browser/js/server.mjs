// A server in place of `fetch`, and the module under test.
import { register } from "node:module";

// The files are modules by how a browser loads them, not by their names; and the script asks for its
// parts by its own path.
const hooks = `
  export async function load(url, context, next) {
    if (!url.includes("/browser/stepup.js")) return next(url, context);
    const part = new URL(url).searchParams.get("part");
    const file = part ? url.replace(/stepup[.]js.*/, "stepup-" + part + ".js") : url;
    return next(file, { ...context, format: "module" });
  }`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

export const stepup = await import("../../../fastapi_stepup/browser/stepup.js");

export const SITE = "https://shop.example";
export const CODE = "insufficient_user_authentication";
export const HEADER = `Bearer realm="P2", error="${CODE}", error_description="Again, please"`;

export const problem = (members = {}) => ({
  code: CODE,
  detail: "Step up.",
  unmet: [{ requirement: "step_up", reason: "missing" }],
  step_up: {
    start_uri: "/step-up/otp/start",
    verify_uri: "/step-up/otp/verify",
    methods: ["email", "sms", "totp", "oauth"],
    uris: { totp: { verify_uri: "/step-up/totp/verify" }, oauth: { start_uri: "/o/start" } },
  },
  ...members,
});

export const answer = (status, json, headers = {}) =>
  new Response(json === undefined ? null : JSON.stringify(json), {
    status,
    headers: { "Content-Type": "application/json", ...headers },
  });

export const challenge = (members) => answer(401, problem(members), { "WWW-Authenticate": HEADER });

export const SESSION = { session_token: "new", refresh_token: null, expires_at: 9, subject: "U2" };

// The app asks for a step-up until `/step-up/otp/verify` has given the token `new`.
export class Server {
  constructor(answers = {}) {
    this.requests = [];
    this.answers = answers;
    this.fetch = this.fetch.bind(this);
  }

  async fetch(input, init) {
    const request = new Request(input, { ...init, duplex: "half" });
    const path = new URL(request.url).pathname;
    const body = await request.text();
    const bearer = request.headers.get("authorization");
    this.requests.push({ path, url: request.url, body, bearer, init });
    const reply = this.answers[path] ?? this[path];
    return reply.call(this, { bearer, body: body && JSON.parse(body), init });
  }

  "/pay"({ bearer }) {
    return bearer === "Bearer new" ? answer(200, "paid") : challenge();
  }

  "/step-up/otp/start"({ body }) {
    return answer(200, { delivery: body.delivery, destination: "a**@example.com" });
  }

  "/step-up/otp/verify"() {
    return answer(200, SESSION);
  }

  get paths() {
    return this.requests.map(({ path }) => path);
  }
}

export async function byEmail(steps) {
  await steps.start("email");
  return steps.verify("email", { code: "123456" });
}

// A prompt that waits for `settle(result)` or `fail(error)`, and counts how often it was opened.
export function held() {
  const opened = [];
  const prompt = (steps, signal) =>
    new Promise((settle, fail) => opened.push({ steps, signal, settle, fail }));
  return { prompt, opened };
}

// Long enough for everything that does not wait for the outside.
export const soon = () => new Promise((resume) => setTimeout(resume, 10));

export const bearer = (token = "old", init = {}) => ({
  method: "POST",
  body: "{}",
  ...init,
  headers: { Authorization: `Bearer ${token}` },
});
