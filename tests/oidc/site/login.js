// Authorization code with PKCE (RFC 7636) for a page without a backend.
const { issuer } = await (await fetch("/config")).json();
const clientId = "web";
const redirectURI = new URL("callback.html", location.href).href;

const base64url = (bytes) => btoa(String.fromCharCode(...bytes))
  .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

// Returns the URL to send the user to; the verifier waits in this tab.
export async function authorizationURL(parameters) {
  const verifier = (sessionStorage.verifier = random());
  const state = (sessionStorage.state = random());
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  const query = new URLSearchParams({
    client_id: clientId,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
    redirect_uri: redirectURI,
    response_type: "code",
    scope: "openid pay",
    state,
    ...parameters,
  });
  return `${issuer}/auth?${query}`;
}

// Returns the access token for the URL that the user came back with; null if they declined.
export async function tokenFor(url) {
  const answer = new URL(url).searchParams;
  if (answer.get("state") !== sessionStorage.state) throw new Error("another sign-in");
  if (!answer.has("code")) return null;
  const response = await fetch(`${issuer}/token`, {
    method: "POST",
    body: new URLSearchParams({
      client_id: clientId,
      code: answer.get("code"),
      code_verifier: sessionStorage.verifier,
      grant_type: "authorization_code",
      redirect_uri: redirectURI,
    }),
  });
  return (await response.json()).access_token;
}

export async function inPopup(parameters, signal) {
  const popup = window.open("about:blank", "sign-in", "width=480,height=640");
  popup.location = await authorizationURL(parameters);
  const url = await new Promise((resolve) => {
    const heard = ({ data, origin }) => origin === location.origin && resolve(data);
    window.addEventListener("message", heard, { once: true, signal });
    signal?.addEventListener("abort", () => popup.close());
  });
  return tokenFor(url);
}

export async function byRedirect(parameters) {
  location.assign(await authorizationURL(parameters));
  return new Promise(() => {}); // The page is left.
}
