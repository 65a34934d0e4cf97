/**
 * stepup.js answers the step-up challenges of a fastapi-stepup server in the browser (RFC 9470).
 *
 * ```js
 * import { stepUpFetch } from "/step-up/stepup.js";
 * const response = await stepUpFetch("/checkout", { method: "POST", body: cart });
 * ```
 *
 * A call is `fetch` until the server answers 401 because the session is not stepped up. Then the
 * user is asked to confirm, and the refused request is sent once more with the new session. Every
 * other answer, and every network error, is passed on as it came: the very same `Response`.
 *
 * Who may ask:
 * - The page's own origin, those in `origins`, and an API that the request sends the app's session
 *   to: its bearer is the `sessionToken` of `getTokens`. All others get no token, no dialog and no
 *   second try. An `Authorization` header alone, or `credentials: "include"`, is no sign of trust.
 * - A challenge with a URI on another origin is passed on. So is one after a redirect to another
 *   origin. URIs are resolved against the URL that answered.
 *
 * What is sent again:
 * - The request that was refused. A POST that was carried out and redirected to a guarded page is
 *   not sent again: the page is fetched. Where a redirect only added or removed a slash it does not
 *   show whether the POST was carried out: its 401 is passed on.
 * - As the account that made it: a request with another account's token is passed on, and a session
 *   of another user (`sub`) is not used. Accounts share no prompt. Of cookies the status route says
 *   whose they are, when the challenge comes and after the step-up: another tab may change them.
 * - Once. What the server answers after the step-up is returned. A session that was stepped up just
 *   now and is still not enough (`unmet_after_step_up`) is asked for again only when a method is
 *   offered that proves what the challenge names in `amr`.
 *
 * Who waits:
 * - Parallel requests share one prompt. A request whose 401 arrives after a prompt that was opened
 *   while it was under way takes part in that prompt's outcome.
 * - A request that `prompt`, `getTokens` or `onTokens` sends itself does not wait for the step-up
 *   that waits for it: its 401 is returned, at once when it is sent in the first line or right after
 *   a step, else after a minute.
 *
 * - Whatever a server answers, a call rejects with the errors below or returns the answer.
 * - It loads nothing but parts of its own, when one comes to be needed: for passkeys, for Descope's
 *   flow, for `onChallenge`. They have the script's own path, and `?part=…`; the tag's `integrity`
 *   says nothing about them.
 * - It works under a Content-Security-Policy of `script-src 'self'` without `unsafe-inline`,
 *   `style-src` and `require-trusted-types-for` included.
 *
 * Needs a browser of 2024 (`light-dark()`, adopted style sheets). In Node it works with `prompt`.
 */

/** Like `fetch`, for requests to the page's own origin that cookies authenticate. */
export declare const stepUpFetch: typeof fetch;

/**
 * Return a function like `fetch` that steps the session up when it has to.
 *
 * Safe to wrap a `fetch` that adds headers, a base URL or retries of its own: it is called with the
 * caller's arguments and, for the retry, with `headers` added. Trusted or not is the URL that answered. Bodies are sent again as they were
 * given; a `Request` is cloned for that. An `Authorization` header of the request carries the new
 * session token on the retry.
 *
 * The returned function rejects with
 *
 * - `TypeError` of `withStepUp` itself: an entry of `origins` is no URL;
 * - `StepUpCancelled`: the user closed the prompt;
 * - `StepUpBodyNotReplayable`: a step-up is needed, and the body is a stream or was read already.
 *   the user was not asked;
 * - `StepUpFailed`: the user cannot step up. They have seen why, unless `prompt` is your own;
 * - `StepUpUnmet`, and what `onChallenge` throws: only where the page has one;
 * - the reason of the request's `signal`. The prompt closes when no request waits for it any more.
 */
export declare function withStepUp(
  fetch: typeof globalThis.fetch,
  options?: StepUpOptions,
): typeof globalThis.fetch;

export interface StepUpTokens {
  sessionToken?: string | null;
  /** Needed unless the server has it as a cookie. */
  refreshToken?: string | null;
}

export interface NewStepUpTokens {
  /** `null` when the browser has it as a cookie. */
  sessionToken: string | null;
  /** The new one, else that of `getTokens`: may be stored as it is. */
  refreshToken: string | null;
  session: StepUpSession;
}

export interface StepUpOptions {
  /** Your own user interface in place of `<step-up-dialog>`. */
  prompt?: StepUpPrompt;
  /** Sends the step-up's own requests; by default the wrapped function. */
  fetch?: typeof globalThis.fetch;
  /** The user's tokens at this moment, for a page that keeps them itself and sends a bearer. */
  getTokens?: () => StepUpTokens | null | undefined | Promise<StepUpTokens | null | undefined>;
  /** Takes the stepped-up session before the request is sent again. Not called for cookies. */
  onTokens?: (tokens: NewStepUpTokens) => unknown;
  /**
   * Has the user authorize anew, for an API behind another issuer than Descope: asked where the
   * challenge names no helper route (RFC 9470 section 4).
   *
   * Resolves to the new tokens, to an access token alone, or to `{}` where they are cookies; to
   * nothing for a cancel. A page that leaves for the issuer gives a promise that does not resolve,
   * and sends its request again when it is back.
   *
   * A request that is refused again rejects with `StepUpUnmet`, and so does one that is refused
   * after the page was left for the same requirement less than `maxAge` seconds ago (at least two
   * minutes; ten where there is none). The next one asks again. A page on an opaque origin, which
   * has no `sessionStorage`, does not know that it was left.
   */
  onChallenge?: (
    asked: StepUpAuthorization,
    signal: AbortSignal,
  ) => StepUpAuthorized | Promise<StepUpAuthorized>;
  /**
   * Origins besides the page's own that may ask for a step-up and get the tokens for it, such as
   * `"https://api.shop.example"`. An API that authenticates by cookies has to be listed.
   */
  origins?: readonly string[];
  /**
   * `"auto"`, the default: a page that has defined Descope's `<descope-wc>` runs the flow that the
   * challenge names, if there is a `projectId`. A flow that is not ready after 8 seconds gives way
   * to the dialog's own methods. `"never"`: it does not run.
   */
  flow?: "auto" | "never";
  /** The Descope project of the flow. */
  projectId?: string;
  /** Descope's API for the flow, where it is not the default one. */
  baseUrl?: string;
  /** The flow's screens and settings, where they are not at their default place. */
  baseStaticUrl?: string;
  /** The flow's components, where they are not at their default place. */
  baseCdnUrl?: string;
  /** The page's CSP nonce, for the scripts and styles of the flow. */
  nonce?: string;
}

export type StepUpMethod =
  "email" | "sms" | "voice" | "whatsapp" | "totp" | "passkey" | "magiclink" | "enchantedlink";

/**
 * Requirements of the server, from the problem in the body; `maxAge` and `acrValues` else from the
 * header. Lists may hold anything that the server wrote.
 */
export interface StepUpChallenge {
  /** The RFC 9457 problem; empty when the answer had none. */
  readonly problem: Readonly<Record<string, any>>;
  /** The 401. Its body is not to be read. */
  readonly response: Response;
  /** The URL of the request. */
  readonly url: URL;
  readonly unmet: readonly {
    requirement: "step_up" | "amr" | "acr";
    reason: "missing" | "expired";
  }[];
  /** Seconds that a step-up is good for here. */
  readonly maxAge: number | null;
  readonly acrValues: readonly string[];
  /** Ways of authenticating; any one will do. */
  readonly amr: readonly string[];
  /** All that would be enough, nearest first; empty where the members above say everything. */
  readonly alternatives: readonly StepUpAlternative[];
  /**
   * What can be offered: mounted, known to this file, and able to prove the `amr` of one of the
   * alternatives; those of the nearest first. Empty where nothing can: the dialog says so.
   */
  readonly methods: readonly StepUpMethod[];
  readonly flowId?: string;
}

/** A challenge that a new authorization answers. */
export interface StepUpAuthorization extends StepUpChallenge {
  /**
   * What to add to the authorization request: `acr_values` and `max_age`. Age and class belong into
   * one request, since a new login for the one alone may lose the other.
   *
   * With `essential` it asks by `claims` in place of `acr_values`. An issuer may ignore `acr_values`,
   * and often does while a session lives; an essential class it may not (OpenID Connect Core
   * 5.5.1.1). Only for issuers whose metadata have `claims_parameter_supported`.
   */
  parameters(options?: { essential?: boolean }): Record<string, string>;
}

export type StepUpAuthorized = StepUpTokens | string | null | undefined | void;

/** One way to meet the policy of a route, as the server wrote it. */
export interface StepUpAlternative {
  unmet?: StepUpChallenge["unmet"];
  max_age?: number;
  /** Any one will do; nested, if one of each list is needed. */
  amr?: string[] | string[][];
  acr_values?: string[] | string[][];
}

/** A finished step-up: the server's reply. Tokens are `null` where they are cookies. */
export interface StepUpSession {
  session_token?: string | null;
  refresh_token?: string | null;
  expires_at?: number;
  expires_in?: number;
  subject?: string;
  [member: string]: unknown;
}

export interface StepUpStatus {
  signed_in: boolean;
  /** Whose session it is; `null` without one. */
  subject: string | null;
  stepped_up: boolean;
  expires_at: number | null;
  methods: { method: StepUpMethod; destination: string | null }[];
  enroll_uri: string | null;
}

/** The step-up's own requests. Each rejects with `StepUpFailed`; `code` is the problem's. */
export interface StepUpSteps {
  readonly challenge: StepUpChallenge;
  /** What this user can use; `null` when the server does not say. Never rejects. */
  status(): Promise<StepUpStatus | null>;
  /** Send a code or link, or get a passkey's options. The reply has a masked `destination`. */
  start(method: StepUpMethod, members?: object): Promise<Record<string, any>>;
  /** Finish: `{code}` for codes and TOTP, `{transaction_id, response}` for a passkey. */
  verify(method: StepUpMethod, members: object): Promise<StepUpSession>;
  /** Ask whether a link was opened: `{pending_ref}`. `null`: not yet. */
  poll(method: StepUpMethod, members: object): Promise<StepUpSession | null>;
}

/**
 * Ask the user, and resolve to what `verify` or `poll` gave; `null` or nothing is a cancel.
 * `{}` is a step-up that was finished elsewhere. The signal aborts when no request waits any more.
 */
export type StepUpPrompt = (
  steps: StepUpSteps,
  signal: AbortSignal,
  options: StepUpOptions,
) => Promise<StepUpSession | null | undefined | void>;

/** The base of all errors here. */
export declare class StepUpError extends Error {
  /**
   * The code of the server's problem, or one of this file: `"cancelled"`, `"body_not_replayable"`,
   * `"network"` (no answer, or a redirect), `"failed"` (an answer without a problem),
   * `"no_session"` (a token that cannot be sent), `"subject_mismatch"` (another user's session),
   * `"no_step_up_method"` (nothing that is offered proves what is asked for),
   * `"unmet_authentication_requirements"` (see `StepUpUnmet`) and `"flow_unavailable"`.
   */
  readonly code: string;
}
export declare class StepUpCancelled extends StepUpError {}
export declare class StepUpBodyNotReplayable extends StepUpError {
  /** The 401. */
  readonly response: Response;
}
export declare class StepUpFailed extends StepUpError {
  readonly problem?: Readonly<Record<string, any>>;
  /** Seconds. Of another origin's answer it is known only if that exposes `Retry-After`. */
  readonly retryAfter?: number | null;
}
/**
 * The login of a new authorization is weaker or older than what was asked for: the request was
 * refused again. The issuer ignores what it was asked, or the user has nothing better.
 */
export declare class StepUpUnmet extends StepUpFailed {
  /** The second 401. */
  readonly response: Response;
}

/** The parameters of the step-up challenge in a `WWW-Authenticate` field, names in lower case. */
export declare function parseChallenge(
  field: string | null,
):
  | ({ scheme: "bearer"; error: "insufficient_user_authentication" } & Record<string, string>)
  | undefined;

/**
 * `<step-up-dialog>`: the default prompt. One of the page's own is used where there is one, else it
 * is there for the time of the prompt only. What the page puts inside it is shown below the form
 * while it asks; the page hides it until then.
 *
 * Looks are set from outside by CSS variables: `--step-up-accent`, `--step-up-accent-text`,
 * `--step-up-surface`, `--step-up-text`, `--step-up-muted`, `--step-up-border`, `--step-up-error`,
 * `--step-up-radius` and `--step-up-font`; by `color-scheme` (light and dark by the user's
 * preference, or `step-up-dialog { color-scheme: dark }`); and by `::part()`: `dialog`, `title`,
 * `lead`, `error`, `form`, `method`, `label`, `code`, `number`, `primary`, `text`, `row`, `close`.
 */
export declare class StepUpDialog extends HTMLElement {
  /** The texts of all dialogs. `{destination}` and `{seconds}` are filled in. */
  static texts: Record<StepUpText, string> & Record<string, string>;
  /** Texts of this dialog, over those of all. A problem's code as a key replaces its words. */
  texts: Partial<Record<StepUpText, string>> & Record<string, string>;
  /** Prompt by the page's dialog, or by one for this time: a `StepUpPrompt`. */
  static prompt: StepUpPrompt;
  /** Prompt by this dialog. */
  prompt: StepUpPrompt;
}

export type StepUpText =
  | "title"
  | "choose"
  | StepUpMethod
  | "sent"
  | "resent"
  | "totp_lead"
  | "passkey_lead"
  | "magiclink_lead"
  | "enchantedlink_lead"
  | "code"
  | "confirm"
  | "opened"
  | "resend"
  | "wait"
  | "another"
  | "enroll"
  | "close"
  | "incomplete"
  | "pending"
  | "unused"
  | "network"
  | "failed"
  | "flow_unavailable"
  | "too_many_attempts"
  | "refresh_token_required"
  | "no_step_up_method";

declare global {
  interface HTMLElementTagNameMap {
    "step-up-dialog": StepUpDialog;
  }
}
