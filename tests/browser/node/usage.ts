// Compiled and never run: stepup.js as a TypeScript page would use it.
import {
  StepUpBodyNotReplayable,
  StepUpCancelled,
  StepUpDialog,
  StepUpFailed,
  StepUpUnmet,
  type StepUpPrompt,
  parseChallenge,
  stepUpFetch,
  withStepUp,
} from "../../../fastapi_stepup/browser/stepup.js";

import { createUseStepUp, useStepUp } from "../../../fastapi_stepup/browser/use-stepup.js";

declare const React: {
  useEffect(effect: () => void | (() => void), deps?: unknown[]): void;
  useRef<T>(value?: T): { current: T };
  useState<T>(value: T): [T, (next: T) => void];
};

const response: Response = await stepUpFetch("/checkout", { method: "POST", body: "{}" });

const prompt: StepUpPrompt = async (steps, signal) => {
  const [method] = steps.challenge.methods;
  if (!method || signal.aborted) return null;
  await steps.start(method);
  return steps.verify(method, { code: "123456" });
};
const api: typeof fetch = withStepUp(fetch, {
  prompt,
  getTokens: async () => ({ sessionToken: "a", refreshToken: null }),
  onTokens({ sessionToken, refreshToken, session }) {
    const kept: (string | null)[] = [sessionToken, refreshToken];
    return [kept, session.expires_at?.toFixed()];
  },
  origins: ["https://api.example.com"],
  flow: "auto",
  projectId: "P2",
});
const authorizing = [
  withStepUp(fetch, {
    async onChallenge({ parameters, maxAge, acrValues }, signal) {
      const query = new URLSearchParams(parameters({ essential: acrValues.length > 0 }));
      return signal.aborted ? null : { sessionToken: `${query}${maxAge}` };
    },
  }),
  withStepUp(fetch, { onChallenge: ({ parameters }) => parameters().max_age }),
  withStepUp(fetch, { onChallenge: () => new Promise(() => {}) }),
];
console.info(authorizing.length);

try {
  await api(new URL("https://api.example.com/pay"), { signal: AbortSignal.timeout(1000) });
} catch (error) {
  if (error instanceof StepUpCancelled) console.info(error.code.length);
  if (error instanceof StepUpUnmet) console.info(error.response.status);
  if (error instanceof StepUpFailed) console.info(error.retryAfter, error.problem?.detail);
  if (error instanceof StepUpBodyNotReplayable) console.info(error.response.status);
}

StepUpDialog.texts.title = "Bist du es?";
StepUpDialog.texts.otp_rejected = "Der Code stimmt nicht.";
document.createElement("step-up-dialog").texts = { confirm: "Bestätigen" };
const maxAge: string | undefined = parseChallenge(
  response.headers.get("www-authenticate"),
)?.max_age;
console.info(maxAge);

const {
  stepUpFetch: order,
  pending,
  error,
  question,
} = createUseStepUp(React)({
  render: true,
  getTokens: () => ({ sessionToken: "a" }),
  baseStaticUrl: "https://static.example.com",
  baseCdnUrl: "https://cdn.example.com",
  nonce: "n",
});
const call: typeof fetch = order;
const busy: boolean = pending;
const code: string | null = error instanceof StepUpCancelled ? error.code : null;
question?.start("email").then(({ destination }) => console.info(destination, call, busy, code));
question?.finish({ session_token: "b" });
question?.cancel();
// @ts-expect-error There is no such option.
useStepUp({ renders: true });

// @ts-expect-error There is no such option.
withStepUp(fetch, { promt: prompt });
// @ts-expect-error A prompt is asynchronous.
withStepUp(fetch, { prompt: () => 1 });
// @ts-expect-error There is no such method of stepping up.
const method: Parameters<Parameters<StepUpPrompt>[0]["start"]>[0] = "carrier_pigeon";
console.info(method);
