// A page whose user signs in at the issuer, and authorizes anew when the API asks for it.
//
// ?essential asks for the class by `claims`, which the issuer must not ignore.
import { withStepUp } from "/step-up/stepup.js";
import { byRedirect, inPopup } from "./login.js";

const essential = new URLSearchParams(location.search).has("essential");
const output = document.querySelector("output");
const button = (id, act) => document.getElementById(id).addEventListener("click", act);

async function pay(authorize) {
  const fetchWithStepUp = withStepUp(fetch, {
    getTokens: () => ({ sessionToken: sessionStorage.token }),
    onTokens: ({ sessionToken }) => { sessionStorage.token = sessionToken; },
    onChallenge(asked, signal) {
      sessionStorage.rounds = Number(sessionStorage.rounds ?? 0) + 1;
      return authorize(asked.parameters({ essential }), signal);
    },
  });
  const headers = { Authorization: `Bearer ${sessionStorage.token}` };
  try {
    const response = await fetchWithStepUp("/pay", { method: "POST", headers });
    const body = await response.json();
    output.textContent = `${response.status} ${body.acr ?? body.code}`;
  } catch (error) {
    output.textContent = `${error.constructor.name} ${error.code ?? error.message}`;
  }
}

const payByRedirect = () => {
  sessionStorage.returnTo = `${location.pathname}${location.search}#pay`;
  return pay(byRedirect);
};

button("sign-in", async () => {
  sessionStorage.token = await inPopup({});
  output.textContent = "signed in";
});
button("popup", () => pay(inPopup));
button("redirect", payByRedirect);

// Back from the issuer: what was refused is sent once more.
if (location.hash === "#pay") {
  history.replaceState(null, "", location.pathname + location.search);
  await payByRedirect();
}
