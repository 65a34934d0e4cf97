// Makes every call of Descope's Node SDK, unmodified, that signs a user in or asks about a session,
// and steps up by every method. Prints what was seen. Usage: node calls.mjs <base URL> <project id>
import DescopeClient from '@descope/node-sdk';

const [baseUrl, projectId] = process.argv.slice(2);
const ORIGIN = 'https://shop.example';
const PAGE = `${ORIGIN}/welcome`;
const ANN = 'ann@example.com';
const STEP_UP = { stepup: true };

const admin = async (method, path, body) => {
  const reply = await fetch(`${baseUrl}/_emulator/${path}`, { method, body: JSON.stringify(body) });
  if (!reply.ok) throw new Error(await reply.text());
  return reply.json();
};
const latest = async () => (await admin('GET', 'outbox')).messages.at(-1);
const totpCode = async (loginId) => (await admin('GET', `totp?login_id=${loginId}`)).code;
const passkey = async (action, { transactionId, options }) => {
  const { response } = await admin('POST', `passkey/${action}`, { options, origin: ORIGIN });
  return [transactionId, response];
};
// SSO makes its users members of the tenant.
const ofTenant = async () => {
  const { url } = await saml.start('T1', PAGE);
  return (await saml.exchange(await signedInAt(url, 'member@example.com'))).refreshJwt;
};
const signedInAt = async (url, loginId) => {
  const { location } = await admin('POST', 'social-login', { url, login_id: loginId });
  return new URL(location).searchParams.get('code');
};

// Wraps every function of the SDK: an answer that is an error is an exception, all others are noted.
const seen = new Set();
const offered = new Set();
const wrapped = (target, prefix = '') => {
  const copy = {};
  for (const [name, value] of Object.entries(target)) {
    const path = prefix + name;
    if (path === 'management') offered.add(path);
    else if (typeof value === 'function') {
      offered.add(path);
      const call = async (...parameters) => {
        const reply = await value(...parameters);
        if (reply.ok === false) throw new Error(`${path}: ${JSON.stringify(reply.error)}`);
        seen.add(path);
        return reply.data ?? reply;
      };
      copy[name] = Object.assign(call, wrapped(value, `${path}.`));
    } else if (value && typeof value === 'object') copy[name] = wrapped(value, `${path}.`);
  }
  return copy;
};

// The SDK gives flows no token: an app that runs one on the server adds it by a hook.
let flowToken;
const beforeRequest = (request) =>
  request.path.startsWith('/v1/flow') ? { ...request, token: flowToken } : request;
const descope = wrapped(DescopeClient({ projectId, baseUrl, hooks: { beforeRequest } }));
const { otp, magicLink, enchantedLink, totp, notp, webauthn, oauth, sso, saml, password, flow } =
  descope;

// Ann signs up, and steps up by each method.
await otp.signUp.email(ANN, { name: 'Ann', phone: '+15550100012' });
const plain = await otp.verify.email(ANN, (await latest()).code);
const refresh = plain.refreshJwt;
const sessions = {};
for (const delivery of ['email', 'sms', 'voice', 'whatsapp', 'im']) {
  await otp.signIn[delivery](ANN, STEP_UP, refresh);
  sessions[`otp ${delivery}`] = await otp.verify[delivery](ANN, (await latest()).code);
}
await totp.update(ANN, refresh);
sessions.totp = await totp.verify(ANN, await totpCode(ANN), STEP_UP, refresh);
for (const delivery of ['email', 'sms', 'whatsapp']) {
  await magicLink.signIn[delivery](ANN, PAGE, STEP_UP, refresh);
  sessions[`magic link ${delivery}`] = await magicLink.verify((await latest()).token);
}
// The SDK polls once a second, so all that wait do it at once, at the end.
const waiting = {};
const { pendingRef } = await enchantedLink.signIn(ANN, PAGE, STEP_UP, refresh);
waiting['enchanted link'] = enchantedLink.waitForSession(pendingRef);
await enchantedLink.verify((await latest()).token);
const whatsapp = await notp.signIn(ANN, STEP_UP, refresh);
waiting.notp = notp.waitForSession(whatsapp.pendingRef);
await admin('POST', 'whatsapp', { url: whatsapp.redirectUrl });
let start = await webauthn.update.start(ANN, ORIGIN, refresh);
await webauthn.update.finish(...(await passkey('create', start)));
start = await webauthn.signIn.start(ANN, ORIGIN, STEP_UP, refresh);
sessions.webauthn = await webauthn.signIn.finish(...(await passkey('get', start)));
start = await oauth.start('google', PAGE, STEP_UP, refresh);
sessions.oauth = await oauth.exchange(await signedInAt(start.url, ANN));
for (const [name, method] of Object.entries({ sso, saml })) {
  start = await method.start('T1', PAGE, STEP_UP, refresh);
  sessions[name] = await method.exchange(await signedInAt(start.url, ANN));
}
flowToken = refresh;
let screen = await flow.start('step-up');
const { code } = await latest();
screen = await flow.next(screen.executionId, screen.stepId, 'submit', 1, '1', { code });
sessions.flow = screen.authInfo;

// Sign-up and sign-in.
for (const delivery of ['sms', 'voice', 'whatsapp', 'im']) {
  await otp.signUp[delivery](`otp-${delivery}`, { phone: '+15550100099' });
}
for (const delivery of ['email', 'sms', 'voice', 'whatsapp', 'im']) {
  await otp.signUpOrIn[delivery](ANN);
}
for (const delivery of ['email', 'sms', 'whatsapp']) {
  const user = { email: 'm@example.com', phone: '+15550100098' };
  await magicLink.signUp[delivery](`magic-${delivery}`, PAGE, user);
  await magicLink.signUpOrIn[delivery](ANN, PAGE);
}
await enchantedLink.signUp('link@example.com', PAGE, {});
await enchantedLink.signUpOrIn(ANN, PAGE);
await totp.signUp('totp@example.com', { name: 'T' });
await notp.signUp('+15550100097', {});
await notp.signUpOrIn('');
start = await webauthn.signUp.start('key@example.com', ORIGIN, 'K');
await webauthn.signUp.finish(...(await passkey('create', start)));
await webauthn.signUpOrIn.start('key@example.com', ORIGIN);
for (const provider of Object.keys(oauth.start)) await oauth.start[provider](PAGE);
await password.policy();
await password.signUp('pwd@example.com', 'correct horse', { email: 'pwd@example.com' });
await password.replace('pwd@example.com', 'correct horse', 'battery staple');
const { refreshJwt } = await password.signIn('pwd@example.com', 'battery staple');
await password.update('pwd@example.com', 'correct horse', refreshJwt);
await password.sendReset('pwd@example.com', PAGE);

// Changes of address.
await otp.update.email(ANN, 'a@example.com', refresh);
for (const delivery of ['sms', 'voice', 'whatsapp', 'im']) {
  await otp.update.phone[delivery](ANN, '+15550100096', refresh);
}
await magicLink.update.email(ANN, 'a@example.com', PAGE, refresh);
for (const delivery of ['sms', 'whatsapp', 'im']) {
  await magicLink.update.phone[delivery](ANN, '+15550100096', PAGE, refresh);
}
await enchantedLink.update.email(ANN, 'a@example.com', PAGE, refresh);

for (const [name, session] of Object.entries(waiting)) sessions[name] = await session;

// The session.
const stepUps = {};
for (const [name, { sessionJwt }] of Object.entries(sessions)) {
  const { su, amr } = (await descope.validateSession(sessionJwt)).token;
  stepUps[name] = { su, amr };
}
const header = JSON.parse(Buffer.from(plain.sessionJwt.split('.')[0], 'base64url'));
await descope.getKey(header);
const user = await descope.me(refresh);
await descope.myTenants(false, refresh);
await descope.selectTenant('T1', await ofTenant());
await descope.history(refresh);
const { secret } = await admin('POST', 'access-keys', {});
await descope.accessKey.exchange(secret);
await descope.exchangeAccessKey(secret);
await descope.validateAndRefreshSession(plain.sessionJwt, refresh);
await descope.refreshSession(refresh);
await descope.refresh(refresh);
await descope.logout(refresh);
await descope.logoutAll(sessions.totp.refreshJwt);

console.log(
  JSON.stringify({
    user: user.userId,
    offered: [...offered],
    seen: [...seen],
    step_ups: stepUps,
    tokens: Object.fromEntries(
      Object.entries(sessions).map(([name, { sessionJwt }]) => [name, sessionJwt]),
    ),
  }),
);
