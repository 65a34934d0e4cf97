// An OAuth client made of oauth4webapi, unmodified, in front of a guarded app.
//
//   node client.mjs ISSUER API
//
// Sends the user somewhere by a line {"visit": URL} and reads the URL that they came back with from
// its input. The last line is its report.
import { createInterface } from 'node:readline';
import * as oauth from 'oauth4webapi';

const [issuer, api] = process.argv.slice(2);
const insecure = { [oauth.allowInsecureRequests]: true }; // plain http on this machine
const client = { client_id: 'web' };
const redirectURI = `${issuer}/callback`;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (value) => console.log(JSON.stringify(value));

const identifier = new URL(issuer);
const found = await oauth.discoveryRequest(identifier, insecure);
const server = await oauth.processDiscoveryResponse(identifier, found);

async function authorize(asked) {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(server.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: client.client_id,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    redirect_uri: redirectURI,
    response_type: 'code',
    scope: 'openid pay',
    state,
    ...asked,
  });
  say({ visit: url.href });
  const back = new URL((await lines.next()).value);
  const parameters = oauth.validateAuthResponse(server, client, back, state);
  const answer = await oauth.authorizationCodeGrantRequest(
    server, client, oauth.None(), parameters, redirectURI, verifier, insecure,
  );
  const maxAge = 'max_age' in asked ? Number(asked.max_age) : undefined;
  return oauth.processAuthorizationCodeResponse(server, client, answer, { maxAge });
}

async function call(token) {
  try {
    const answer = await oauth.protectedResourceRequest(
      token, 'POST', new URL('/pay', api), undefined, undefined, insecure,
    );
    return { status: answer.status, body: await answer.json() };
  } catch (error) {
    if (!(error instanceof oauth.WWWAuthenticateChallengeError)) throw error;
    return { status: error.status, challenges: error.cause };
  }
}

const first = await call((await authorize({})).access_token);
const { parameters } = first.challenges.find(
  (challenge) => challenge.parameters.error === 'insufficient_user_authentication',
);
const { acr_values, max_age } = parameters;
const second = await call((await authorize({ acr_values, max_age })).access_token);
say({ first, second });
process.exit(0);
