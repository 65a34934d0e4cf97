// A React hook around stepup.js. Documentation: use-stepup.d.ts.
import * as stepup from "./stepup.js";

export function createUseStepUp({ useEffect, useRef, useState }, { withStepUp } = stepup) {
  return function useStepUp(options = {}) {
    const latest = useRef();
    const kept = useRef();
    const [pending, setPending] = useState(0);
    const [error, setError] = useState(null);
    const [question, setQuestion] = useState(null);
    latest.current = options;

    if (!kept.current) {
      // Resolves when the component answers, or has gone.
      const ask = (steps, signal) =>
        new Promise((answer) => {
          const cancel = () => answer(null);
          signal.addEventListener("abort", cancel);
          kept.current.cancel = cancel;
          setQuestion({ ...steps, finish: answer, cancel });
        }).finally(() => setQuestion(null));
      const prompt = () => latest.current.prompt ?? (latest.current.render && ask);
      const member = (_, name) => (name === "prompt" ? prompt() : latest.current[name]);
      const call = withStepUp(
        (...request) => globalThis.fetch(...request),
        new Proxy({}, { get: member }),
      );
      const stepUpFetch = async (...request) => {
        setPending((count) => count + 1);
        setError(null);
        try {
          return await call(...request);
        } catch (reason) {
          setError(reason);
          throw reason;
        } finally {
          setPending((count) => count - 1);
        }
      };
      kept.current = { stepUpFetch };
    }
    useEffect(() => () => kept.current.cancel?.(), []);
    return { stepUpFetch: kept.current.stepUpFetch, pending: pending > 0, error, question };
  };
}

const React = await import("react").catch(() => null);

export const useStepUp = React
  ? createUseStepUp(React)
  : () => {
      throw new Error('No "react" in the import map: use createUseStepUp(React).');
    };
