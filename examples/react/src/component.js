// The same without a framework: <descope-wc> signs in and steps up, and this page keeps the session.
import "@descope/web-component";
import { transfer } from "./api.js";
import { baseUrl, projectId } from "./settings.js";

const $ = (id) => document.getElementById(id);
const KEY = "DS"; // where Descope's SDKs keep the session token
const REFRESH_KEY = "DSR";

/** Run a flow, and then `goOn`. */
function run(flowId, goOn) {
  const flow = document.createElement("descope-wc");
  const attributes = { "project-id": projectId, "base-url": baseUrl, "base-cdn-url": baseUrl, "flow-id": flowId, theme: "os" };
  for (const [name, value] of Object.entries(attributes)) if (value) flow.setAttribute(name, value);
  flow.addEventListener("success", ({ detail }) => {
    localStorage.setItem(KEY, detail.sessionJwt);
    // The component steps up the session whose refresh token it finds here.
    if (detail.refreshJwt) localStorage.setItem(REFRESH_KEY, detail.refreshJwt);
    flow.remove();
    goOn(detail.user);
  });
  flow.addEventListener("error", () => {
    $("outcome").textContent = "That did not work. Nothing was transferred.";
  });
  $("flow").replaceChildren(flow);
}

function welcome(user) {
  $("hello").textContent = `Hello ${user.name || user.email}.`;
  $("transfer").hidden = false;
}

async function pay() {
  $("transfer").disabled = true;
  const { outcome, flowId } = await transfer(localStorage.getItem(KEY));
  $("outcome").textContent = outcome;
  $("transfer").disabled = Boolean(flowId);
  if (flowId) run(flowId, pay);
}

$("transfer").addEventListener("click", pay);
run("sign-up-or-in", welcome);
