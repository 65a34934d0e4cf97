// npm oidc-provider on a free port of this machine, as a real authorization server.
//
// Prints one line of JSON when it listens: {"issuer": "http://127.0.0.1:…"}. Settings come from the
// environment:
//   ALG          how tokens are signed: RS256 (default), ES256, EdDSA
//   NATIVE=1     access tokens as oidc-provider makes them: without acr, amr and auth_time
//   ENFORCE_ACR=1  acr_values alone makes it ask for a login, as a good server does
//   WEAK=1       the user has a password only, so no class but "pwd" can be had
//   ONE_ROUND=1  a login that cannot reach the class ends; without it this server asks for ever
//   AUDIENCE     the resource of JWT access tokens (default https://api.example)
//
// For tests, POST /_rotate signs with a new key from now on, POST /_wait?SECONDS moves its clock, and
// POST /_allow?URI adds a redirect URI to the client "web".
import { createHash, generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider, interactionPolicy } from 'oidc-provider';

const env = process.env;
const algorithm = env.ALG ?? 'RS256';
const audience = env.AUDIENCE ?? 'https://api.example';
const scopes = 'openid offline_access pay';

let waited = 0;
const now = Date.now;
Date.now = () => now() + waited * 1000;

function newKey() {
  const kinds = {
    RS256: ['rsa', { modulusLength: 2048 }],
    ES256: ['ec', { namedCurve: 'P-256' }],
    EdDSA: ['ed25519'],
  };
  const jwk = generateKeyPairSync(...kinds[algorithm]).privateKey.export({ format: 'jwk' });
  const kid = createHash('sha256').update(jwk.n ?? jwk.x).digest('base64url').slice(0, 12);
  return { ...jwk, alg: algorithm, use: 'sig', kid };
}

function policy() {
  const { Check, base } = interactionPolicy;
  const prompts = base();
  if (env.ENFORCE_ACR) {
    prompts.get('login').checks.add(new Check('acr_values', 'the class is not reached', (ctx) => {
      const asked = ctx.oidc.params.acr_values?.split(' ') ?? [];
      const unmet = asked.length > 0 && !asked.includes(ctx.oidc.acr);
      return unmet && !ctx.oidc.result?.login ? Check.REQUEST_PROMPT : Check.NO_NEED_TO_PROMPT;
    }));
  }
  if (env.ONE_ROUND) {
    const essential = prompts.get('login').checks.get('essential_acrs');
    const { check } = essential;
    essential.check = (ctx) => (ctx.oidc.result?.login ? Check.NO_NEED_TO_PROMPT : check(ctx));
  }
  return prompts;
}

function configuration(keys, redirectURIs) {
  return {
    acrValues: ['pwd', 'mfa'],
    claims: { acr: null, amr: null, auth_time: null, openid: ['sub'] },
    clientBasedCORS: () => true,
    clients: [
      {
        client_id: 'web',
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        redirect_uris: redirectURIs,
        id_token_signed_response_alg: algorithm,
      },
      {
        client_id: 'machine',
        client_secret: 'a secret of the tests',
        grant_types: ['client_credentials'],
        response_types: [],
        redirect_uris: [],
        id_token_signed_response_alg: algorithm,
      },
    ],
    cookies: { keys: ['for tests'] },
    enabledJWA: { idTokenSigningAlgValues: [algorithm] },
    expiresWithSession: () => false,
    extraTokenClaims(ctx) {
      const { AuthorizationCode, RefreshToken } = ctx.oidc.entities;
      const login = RefreshToken ?? AuthorizationCode;
      if (env.NATIVE || !login) return undefined;
      return { acr: login.acr, amr: login.amr, auth_time: login.authTime };
    },
    features: {
      claimsParameter: { enabled: true },
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => ({
          scope: 'pay',
          audience: resource,
          accessTokenTTL: 600,
          accessTokenFormat: resource.endsWith('/opaque') ? 'opaque' : 'jwt',
          jwt: { sign: { alg: algorithm } },
        }),
      },
    },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { policy: policy(), url: (_ctx, { uid }) => `/interaction/${uid}` },
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    jwks: { keys },
    // Whatever the client asks for is granted: consent is not what is tested here.
    async loadExistingGrant(ctx) {
      const { client, session, params } = ctx.oidc;
      const grant = new ctx.oidc.provider.Grant({
        clientId: client.clientId,
        accountId: session.accountId,
      });
      grant.addOIDCScope(scopes);
      for (const resource of [params.resource ?? audience].flat()) {
        grant.addResourceScope(resource, 'pay');
      }
      await grant.save();
      return grant;
    },
    ttl: { AccessToken: 600, Grant: 3600, IdToken: 600, Interaction: 600, RefreshToken: 3600, Session: 3600 },
  };
}

// A page for people and browsers; a test without one posts its form.
function page(uid) {
  const button = (login, text) => `<button name="login" value="${login}">${text}</button>`;
  return `<!doctype html><meta charset="utf-8"><title>Sign in</title>
<form method="post" action="/interaction/${uid}">
<input name="user" value="ann" aria-label="User">
${button('pwd', 'Password')} ${button('mfa', 'Password and code')} ${button('cancel', 'Cancel')}
</form>`;
}

async function interact(provider, request, response) {
  await provider.interactionDetails(request, response);
  if (request.method !== 'POST') {
    response.setHeader('content-type', 'text/html');
    response.end(page(request.url.split('/').pop()));
    return;
  }
  let body = '';
  for await (const chunk of request) body += chunk;
  const form = new URLSearchParams(body);
  const acr = env.WEAK ? 'pwd' : form.get('login');
  const result = form.get('login') === 'cancel'
    ? { error: 'access_denied' }
    : { login: { accountId: form.get('user'), acr, amr: acr === 'mfa' ? ['pwd', 'otp', 'mfa'] : ['pwd'] } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const redirectURIs = [`${issuer}/callback`];
  const keys = [newKey()];
  // Sessions and codes are in memory that all providers of this process share.
  const renewed = () => new Provider(issuer, configuration([...keys], [...redirectURIs]));
  let provider = renewed();

  const controls = {
    '/_rotate': () => { keys.unshift(newKey()); provider = renewed(); return keys[0].kid; },
    '/_wait': (seconds) => { waited += Number(seconds); return ''; },
    '/_allow': (uri) => { redirectURIs.push(uri); provider = renewed(); return ''; },
  };

  server.on('request', async (request, response) => {
    const [path, query] = request.url.split('?');
    try {
      if (request.method === 'POST' && path in controls) {
        response.end(controls[path](decodeURIComponent(query ?? '')));
      } else if (path.startsWith('/interaction/')) {
        await interact(provider, request, response);
      } else {
        await provider.callback()(request, response);
      }
    } catch (error) {
      response.statusCode = 500;
      response.end(String(error));
    }
  });
  console.log(JSON.stringify({ issuer }));
});
