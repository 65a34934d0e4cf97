// What other people's code makes of ours: an OAuth client reads the challenge, a compiler the types.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { WWWAuthenticateChallengeError, protectedResourceRequest } from "oauth4webapi";
import { stepup } from "../js/server.mjs";

const { STEPUP_SITE: site } = process.env;
const here = dirname(fileURLToPath(import.meta.url));

test("oauth4webapi reads the challenge as stepup.js does", async () => {
  const asked = { login_id: "ann@example.com" };
  const signIn = { method: "POST", body: JSON.stringify(asked) };
  const { session_token } = await (await fetch(`${site}/descope/_emulator/sign-in`, signIn)).json();
  const request = protectedResourceRequest(
    session_token,
    "POST",
    new URL(`${site}/pay`),
    new Headers(),
    "{}",
    {
      [(await import("oauth4webapi")).allowInsecureRequests]: true,
    },
  );
  const error = await request.catch((reason) => reason);
  assert.ok(error instanceof WWWAuthenticateChallengeError, String(error));
  const [{ scheme, parameters }] = error.cause;
  const { scheme: ourScheme, ...ours } = stepup.parseChallenge(
    error.response.headers.get("www-authenticate"),
  );
  assert.equal(scheme, ourScheme);
  assert.deepEqual({ ...parameters }, ours);
  assert.deepEqual([ours.error, ours.max_age], ["insufficient_user_authentication", "300"]);
});

test("the types hold for those who use them, and against mistakes", () => {
  const tsc = `${here}/node_modules/typescript/bin/tsc`;
  const options = [
    "--noEmit",
    "--strict",
    "--target",
    "es2022",
    "--module",
    "es2022",
    "--moduleResolution",
    "bundler",
    "--lib",
    "es2022,dom",
  ];
  execFileSync(process.execPath, [tsc, ...options, `${here}/usage.ts`], {
    stdio: "pipe",
    encoding: "utf-8",
  });
});

test("every export of the hook has its type, and no other", () => {
  const read = (name) =>
    readFileSync(new URL(`../../../fastapi_stepup/browser/${name}`, import.meta.url), "utf-8");
  const names = (text, pattern) => [...text.matchAll(pattern)].map(([, name]) => name).sort();
  assert.deepEqual(
    names(read("use-stepup.d.ts"), /^export declare (?:function|const) (\w+)/gm),
    names(read("use-stepup.js"), /^export (?:function|const) (\w+)/gm),
  );
});

test("every export has its type, and no other", () => {
  const types = readFileSync(
    new URL("../../../fastapi_stepup/browser/stepup.d.ts", import.meta.url),
    "utf-8",
  );
  const declared = [...types.matchAll(/^export declare (?:class|function|const) (\w+)/gm)].map(
    ([, name]) => name,
  );
  assert.deepEqual(declared.sort(), Object.keys(stepup).sort());
  const listed = types.slice(
    types.indexOf("export type StepUpText"),
    types.indexOf("declare global"),
  );
  const texts = Object.keys(stepup.StepUpDialog.texts);
  const methods = [
    "email",
    "sms",
    "voice",
    "whatsapp",
    "totp",
    "passkey",
    "magiclink",
    "enchantedlink",
  ];
  const names = [...listed.matchAll(/"(\w+)"/g)].map(([, name]) => name);
  assert.deepEqual([...names, ...methods].sort(), texts.sort());
});
