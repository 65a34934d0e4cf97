// Shows Descope's flow inside of the dialog. Loaded by stepup.js where a page has the component.

export function showFlow(dialog, { challenge, options, signal, ready, done, fail }) {
  const flow = document.createElement("descope-wc");
  flow.setAttribute("flow-id", challenge.flowId);
  // As the dialog, whose scheme the page may have chosen.
  const { colorScheme } = getComputedStyle(dialog);
  const isDark = colorScheme === "dark" || matchMedia("(prefers-color-scheme: dark)").matches;
  flow.setAttribute("theme", isDark && colorScheme !== "light" ? "dark" : "light");
  for (const name of ["projectId", "baseUrl", "baseStaticUrl", "baseCdnUrl"]) {
    if (options[name]) flow.setAttribute(name.replace(/[A-Z]/g, "-$&"), options[name]);
  }
  flow.addEventListener("ready", ready);
  flow.addEventListener("success", ({ detail }) =>
    done({ session_token: detail?.sessionJwt, refresh_token: detail?.refreshJwt }),
  );
  flow.addEventListener("error", fail);
  // Above what the page put into the dialog. The component puts a form around itself.
  const place = document.createElement("div");
  dialog.prepend(place);
  place.append(flow);
  // Not before: a browser empties the attribute of an element that it connects.
  if (options.nonce) flow.setAttribute("nonce", options.nonce);
  signal.addEventListener("abort", () => place.remove());
}
