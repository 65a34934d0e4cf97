// Has the page authorize anew (RFC 9470 section 4). Loaded by stepup.js for challenges that name no
// helper routes, where a page has `onChallenge`.

const isClass = (value) => typeof value === "string" && /^[!-~]+$/.test(value);

// The page may be left for a round, so what is known of it outlives the page.
function rounds() {
  try {
    return globalThis.sessionStorage;
    // An opaque origin has none.
  } catch {}
}

export async function authorize(Unmet, ask, challenge, signal) {
  const { acrValues, maxAge, amr, unmet, url, problem, response } = challenge;
  const classes = acrValues.filter(isClass);
  // The age that leaves a used login out grows with that login.
  const used = unmet[0]?.reason === "used";
  const key = "step-up " + JSON.stringify([url.origin, acrValues, used || maxAge, amr]);
  const storage = rounds();
  const since = (Date.now() - storage?.getItem(key)) / 1000;
  storage?.removeItem(key);
  // A login since then would still do. So it is weaker or older than what was asked for, and another
  // round would give the same: no loop. A round takes its time, also where a login may not be old.
  // A used login that is older than the round is the one of before.
  if (since >= 0 && since < Math.max(maxAge ?? 600, used ? 0 : 120)) {
    throw new Unmet("unmet_authentication_requirements", { problem, response });
  }
  const parameters = ({ essential } = {}) => {
    const asked = {};
    if (classes.length && essential) {
      const acr = { essential: true, values: classes };
      asked.claims = JSON.stringify({ id_token: { acr } });
    } else if (classes.length) asked.acr_values = classes.join(" ");
    if (maxAge !== null) asked.max_age = `${maxAge}`;
    return asked;
  };
  // A page that was left may be shown again as it was, by the button Back.
  const over = new Promise((resolve) => {
    globalThis.addEventListener?.("pageshow", (event) => event.persisted && resolve(), { signal });
    signal.addEventListener("abort", resolve);
  });
  storage?.setItem(key, Date.now());
  try {
    const given = await Promise.race([ask({ ...challenge, parameters }, signal), over]);
    if (!given || signal.aborted) return;
    const tokens = typeof given === "string" ? { sessionToken: given } : given;
    return { session_token: tokens.sessionToken, refresh_token: tokens.refreshToken };
  } finally {
    storage?.removeItem(key);
  }
}
