// The scenario of tests/sdk/python_scenario.py with Descope's Node SDK, unmodified; prints the same
// report. Usage: node scenario.mjs <base URL> <project id>
import DescopeClient from '@descope/node-sdk';

const [baseUrl, projectId] = process.argv.slice(2);
const descope = DescopeClient({ projectId, baseUrl });
const LOGIN_ID = 'ann@example.com';

const latestCode = async () => {
  const reply = await fetch(`${baseUrl}/_emulator/outbox`);
  return (await reply.json()).messages.at(-1).code;
};

const done = (reply) => {
  if (!reply.ok) throw new Error(JSON.stringify(reply.error));
  return reply.data;
};

const refusalOf = (reply) => (reply.ok ? 'nothing' : reply.error.errorCode);

const claimsOf = async (token) => (await descope.validateSession(token)).token;

done(await descope.otp.signUp.email(LOGIN_ID, { name: 'Ann', phone: '+15550100012' }));
const wrongCode = String((Number(await latestCode()) + 1) % 1_000_000).padStart(6, '0');
const refusedCode = await descope.otp.verify.email(LOGIN_ID, wrongCode);
const plain = done(await descope.otp.verify.email(LOGIN_ID, await latestCode()));

const stepUps = {};
let steppedUp;
for (const delivery of ['email', 'sms', 'voice', 'whatsapp']) {
  const { refreshJwt } = plain;
  done(await descope.otp.signIn[delivery](LOGIN_ID, { stepup: true }, refreshJwt));
  steppedUp = done(await descope.otp.verify[delivery](LOGIN_ID, await latestCode()));
  const { su, amr } = await claimsOf(steppedUp.sessionJwt);
  stepUps[delivery] = { su, amr };
}

const withoutToken = await descope.otp.signIn.email(LOGIN_ID, { stepup: true });
const unknownUser = await descope.otp.signIn.email('nobody@example.com');
const refreshed = await descope.refreshSession(steppedUp.refreshJwt);
const me = done(await descope.me(steppedUp.refreshJwt));
done(await descope.logout(steppedUp.refreshJwt));
const afterLogout = await descope.refresh(steppedUp.refreshJwt);

console.log(
  JSON.stringify({
    plain_has_su: 'su' in (await claimsOf(plain.sessionJwt)),
    step_ups: stepUps,
    refreshed_has_su: 'su' in refreshed.token,
    me: me.loginIds,
    wrong_code: refusalOf(refusedCode),
    step_up_without_refresh_token: refusalOf(withoutToken),
    unknown_user: refusalOf(unknownUser),
    refresh_after_logout: refusalOf(afterLogout),
    tokens: {
      plain: plain.sessionJwt,
      stepped_up: steppedUp.sessionJwt,
      refreshed: refreshed.sessionJwt ?? refreshed.jwt,
      refresh: steppedUp.refreshJwt,
    },
  }),
);
