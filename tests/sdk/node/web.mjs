// Steps up with Descope's web SDK, unmodified, in a page in Chromium, by a passkey of Chromium's
// virtual authenticator and by code, and prints what was seen.
// Usage: node web.mjs <base URL> <project id> <path of Chromium> <body or cookies>
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const [baseUrl, projectId, executablePath, mode] = process.argv.slice(2);
const SDK = 'node_modules/@descope/web-js-sdk/dist/index.umd.js';

// The page's script. Its refresh token is in the SDK's storage, or in a cookie it cannot read.
const scenario = async ([url, project, inBody]) => {
  const config = { projectId: project, baseUrl: url, persistTokens: inBody, autoRefresh: false };
  const sdk = globalThis.Descope(config);
  const done = (reply) => {
    if (!reply.ok) throw new Error(JSON.stringify(reply.error));
    return reply.data;
  };
  const token = () => (inBody ? sdk.getRefreshToken() : undefined);
  const signedUp = done(await sdk.webauthn.signUp('ann@example.com', 'Ann'));
  const start = done(
    await sdk.webauthn.signIn.start('ann@example.com', location.origin, { stepup: true }, token()),
  );
  const answer = await sdk.webauthn.helpers.get(start.options);
  const steppedUp = done(await sdk.webauthn.signIn.finish(start.transactionId, answer));
  const me = done(await sdk.me(token()));
  const screen = done(await sdk.flow.start('step-up'));
  const outbox = await (await fetch(`${url}/_emulator/outbox`)).json();
  const { code } = outbox.messages.at(-1);
  const flow = done(
    await sdk.flow.next(screen.executionId, screen.stepId, 'submit', 1, '1', { code }),
  );
  done(await sdk.refresh(token()));
  done(await sdk.logout(token()));
  const after = await sdk.me(inBody ? flow.authInfo.refreshJwt : undefined);
  return {
    refresh_token_in_body: [signedUp, steppedUp, flow.authInfo].map((d) => d.refreshJwt !== ''),
    plain: signedUp.sessionJwt,
    stepped_up: [steppedUp.sessionJwt, flow.authInfo.sessionJwt],
    me: me.loginIds,
    after_logout: after.error.errorCode,
  };
};

const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
});
const page = await browser.newPage();
const script = await readFile(new URL(SDK, import.meta.url), 'utf-8');
// A page that no server sent has no address, and may call none on this machine.
const shop = createServer((_, reply) => {
  reply.writeHead(200, { 'content-type': 'text/html' });
  reply.end('<!doctype html><title>Shop</title>');
});
await new Promise((listening) => shop.listen(0, '127.0.0.1', listening));
const devtools = await page.context().newCDPSession(page);
await devtools.send('WebAuthn.enable');
await devtools.send('WebAuthn.addVirtualAuthenticator', {
  options: {
    protocol: 'ctap2',
    transport: 'internal',
    hasResidentKey: true,
    hasUserVerification: true,
    isUserVerified: true,
    automaticPresenceSimulation: true,
  },
});
await page.goto(`http://localhost:${shop.address().port}`);
await page.addScriptTag({ content: script });
const url = baseUrl.replace('127.0.0.1', 'localhost');
console.log(JSON.stringify(await page.evaluate(scenario, [url, projectId, mode === 'body'])));
await browser.close();
shop.closeAllConnections();
shop.close();
