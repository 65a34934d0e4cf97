// The web SDK alone, with screens of the page's own: `run` steps up by one method and returns the
// last reply; what a user would do comes in as functions.
const { projectId, baseUrl } = globalThis.settings;
const sdk = globalThis.Descope({ projectId, baseUrl, persistTokens: true, autoRefresh: false });

const next = async (reply, interaction, input = {}) => {
  const { executionId, stepId } = reply.data;
  const given = { origin: location.origin, ...input };
  return sdk.flow.next(executionId, stepId, interaction, 1, "3.14.1", given);
};

globalThis.start = () => sdk.flow.start("step-up", {}, undefined, "", "3.14.1");
globalThis.next = next;
globalThis.passkey = async (reply) => {
  const { transactionId, options } = reply.data.webauthn;
  const response = await sdk.webauthn.helpers.get(options);
  return next(reply, "submit", { transactionId, response });
};
