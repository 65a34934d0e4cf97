// Shows Descope's flow inside of the dialog. Loaded by stepup.js where a page has the component.

export function showFlow(dialog, { challenge, options, signal, ready, done, fail }) {
  const flow = document.createElement("descope-wc");
  flow.setAttribute("flow-id", challenge.flowId);
  for (const name of ["projectId", "baseUrl", "baseStaticUrl", "baseCdnUrl"]) {
    if (options[name]) flow.setAttribute(name.replace(/[A-Z]/g, "-$&"), options[name]);
  }
  flow.addEventListener("ready", ready);
  flow.addEventListener("success", ({ detail }) =>
    done({ session_token: detail?.sessionJwt, refresh_token: detail?.refreshJwt }),
  );
  flow.addEventListener("error", fail);
  dialog.append(flow);
  // Not before: a browser empties the attribute of an element that it connects.
  if (options.nonce) flow.setAttribute("nonce", options.nonce);
  signal.addEventListener("abort", () => flow.remove());
}
