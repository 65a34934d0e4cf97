/**
 * use-stepup.js is a React hook around stepup.js (React 18 and newer).
 *
 * ```jsx
 * import * as React from "react";
 * import { createUseStepUp } from "/step-up/use-stepup.js";
 * const useStepUp = createUseStepUp(React);
 *
 * function Checkout() {
 *   const { stepUpFetch, pending, error } = useStepUp();
 *   const order = () => stepUpFetch("/checkout", { method: "POST" }).catch(() => {});
 *   return <button onClick={order} disabled={pending}>{error ? "Try again" : "Order"}</button>;
 * }
 * ```
 *
 * A page whose import map has `"react"` imports `useStepUp` itself. Nothing is built, and nothing
 * but stepup.js (and React, by the import map) is loaded.
 */
import type { StepUpOptions, StepUpSession, StepUpSteps, withStepUp } from "./stepup.js";

/** The hook, with the `"react"` of the page's import map. Without one it throws when it is called. */
export declare const useStepUp: UseStepUp;

/**
 * Return the hook for this React.
 *
 * @param react The page's React.
 * @param stepup The module stepup.js, where the page has loaded it by another URL.
 */
export declare function createUseStepUp(
  react: ReactHooks,
  stepup?: { withStepUp: typeof withStepUp },
): UseStepUp;

/** What is used of React. */
export interface ReactHooks {
  useEffect: (...given: any[]) => void;
  useRef: (...given: any[]) => { current: any };
  useState: (...given: any[]) => any;
}

export type UseStepUp = (options?: UseStepUpOptions) => StepUpState;

/** As for `withStepUp`, read again for each request; only `origins` is read once. */
export interface UseStepUpOptions extends StepUpOptions {
  /** Ask by what the component renders from `question`, in place of `<step-up-dialog>`. */
  render?: boolean;
}

export interface StepUpState {
  /** Like `fetch`, and the same function for each render. Rejects as that of `withStepUp` does. */
  stepUpFetch: typeof fetch;
  /** True while a request of this component is under way, its step-up included. */
  pending: boolean;
  /** Why the last request failed, such as a `StepUpCancelled`; `null` once the next one starts. */
  error: unknown;
  /** With `render`: the step-up that the component has to ask for; else `null`. */
  question: StepUpQuestion | null;
}

/**
 * A step-up to be asked for: `start` one of `challenge.methods`, then `verify` or `poll`, and `finish`
 * with the session. A component that goes away cancels it.
 */
export interface StepUpQuestion extends StepUpSteps {
  finish(session: StepUpSession): void;
  cancel(): void;
}
