// Makes the Swagger UI of this page answer step-up challenges, and sign users of an emulator in.
// A classic script, which runs before that of Swagger UI: it wraps what that one defines.
(() => {
  const { scheme, stepup, signIn } = document.currentScript.dataset;
  const send = window.fetch.bind(window);
  let ui;
  let refreshToken;

  // Read from Swagger UI each time: its user may log out or give another token.
  const sessionToken = () => ui?.authSelectors.authorized()?.getIn([scheme, "value"]) ?? null;
  const use = (tokens) => {
    refreshToken = tokens.refreshToken;
    ui.preauthorizeApiKey(scheme, tokens.sessionToken);
  };

  const call = import(stepup).then(({ withStepUp }) =>
    withStepUp(send, {
      getTokens: () => ({ sessionToken: sessionToken(), refreshToken }),
      onTokens: use,
    }),
  );
  window.fetch = async (...given) => (await call)(...given);

  const plugin = ({ React }) => {
    const element = React.createElement;

    const field = (label, options) =>
      element("label", { className: "wrapper" }, label, " ", element("input", options));

    // Part of the dialog "Available authorizations", above the scheme of the session.
    const Session = () => {
      const [loginId, setLoginId] = React.useState("");
      const [said, say] = React.useState("");
      const submit = async (event) => {
        event.preventDefault();
        const headers = { "Content-Type": "application/json" };
        const body = JSON.stringify({ login_id: loginId });
        const reply = await send(signIn, { method: "POST", headers, body });
        if (!reply.ok) return say("The emulator did not sign this user in.");
        const tokens = await reply.json();
        use({ sessionToken: tokens.session_token, refreshToken: tokens.refresh_token });
        say(`Signed in as ${loginId}.`);
      };
      const remember = (event) => {
        refreshToken = event.target.value.trim() || undefined;
      };
      return element(
        "div",
        { className: "auth-container" },
        signIn
          ? element(
              "form",
              { onSubmit: submit },
              element("h4", null, "User of the emulator"),
              field("E-mail or phone:", {
                value: loginId,
                onChange: (event) => setLoginId(event.target.value),
                autoComplete: "off",
                required: true,
              }),
              element(
                "div",
                { className: "auth-btn-wrapper" },
                element("button", { className: "btn modal-btn auth", type: "submit" }, "Sign in"),
              ),
              element("p", { role: "status" }, said),
            )
          : field("Refresh token, to step a bearer up:", {
              type: "password",
              onChange: remember,
              autoComplete: "off",
            }),
      );
    };

    return {
      wrapComponents: {
        auths: (Auths) => (props) =>
          element(
            React.Fragment,
            null,
            props.definitions?.has(scheme) && element(Session),
            element(Auths, props),
          ),
      },
    };
  };

  let bundle;
  Object.defineProperty(window, "SwaggerUIBundle", {
    configurable: true,
    get: () => bundle,
    set: (original) => {
      bundle = new Proxy(original, {
        apply: (target, self, [options, ...rest]) => {
          const plugins = [...[options.plugins ?? []].flat(), plugin];
          ui = target.call(self, { ...options, plugins }, ...rest);
          return ui;
        },
      });
    },
  });
})();
