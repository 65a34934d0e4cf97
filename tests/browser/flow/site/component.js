// A page with <descope-wc>, which can be closed and opened again; what happened is in #steps.
const { projectId, baseUrl, flowId, theme } = globalThis.settings;
const steps = document.getElementById("steps");
const note = (step) => { steps.textContent += ` ${step}`; };

const open = () => {
  const flow = document.createElement("descope-wc");
  flow.setAttribute("project-id", projectId);
  flow.setAttribute("base-url", baseUrl);
  flow.setAttribute("base-cdn-url", baseUrl);
  flow.setAttribute("flow-id", flowId);
  flow.setAttribute("theme", theme);
  flow.setAttribute("restart-on-error", "true");
  flow.addEventListener("ready", () => note("ready"));
  flow.addEventListener("error", ({ detail }) => note(detail.errorCode));
  flow.addEventListener("success", async ({ detail }) => {
    note("success");
    localStorage.setItem("DS", detail.sessionJwt);
    localStorage.setItem("DSR", detail.refreshJwt);
  });
  document.getElementById("root").replaceChildren(flow);
};

document.getElementById("close").addEventListener("click", () => {
  document.getElementById("root").replaceChildren();
});
document.getElementById("open").addEventListener("click", open);
document.getElementById("pay").addEventListener("click", async () => {
  const headers = { Authorization: `Bearer ${localStorage.getItem("DS")}` };
  const reply = await fetch("/checkout", { method: "POST", headers });
  document.getElementById("paid").textContent = `paid: ${reply.status}`;
});
open();
