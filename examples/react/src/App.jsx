// The sample of Descope's guides, with a guarded API behind it: sign in by the flow `sign-up-or-in`,
// and step up by the flow that the API's refusal names.
import { Descope, getSessionToken, useDescope, useSession, useUser } from "@descope/react-sdk";
import { useCallback, useState } from "react";
import { transfer } from "./api.js";

export function App() {
  const { isAuthenticated, isSessionLoading } = useSession();
  const { user, isUserLoading } = useUser();
  const { logout } = useDescope();
  const [flowId, setFlowId] = useState(null);
  const [outcome, setOutcome] = useState("");

  const pay = useCallback(async () => {
    const reply = await transfer(getSessionToken());
    setOutcome(reply.outcome);
    setFlowId(reply.flowId ?? null);
  }, []);
  const steppedUp = useCallback(() => pay(), [pay]);
  const signOut = useCallback(async () => {
    setOutcome("");
    setFlowId(null);
    await logout();
  }, [logout]);

  if (isSessionLoading || isUserLoading) return <main><p role="status">Loading…</p></main>;
  return (
    <main>
      <h1>Transfers</h1>
      {isAuthenticated ? (
        <>
          <p id="hello">Hello {user?.name || user?.email}.</p>
          <p className="buttons">
            <button type="button" id="transfer" onClick={pay} disabled={flowId !== null}>Transfer €100</button>{" "}
            <button type="button" id="logout" onClick={signOut}>Sign out</button>
          </p>
          <p id="outcome" role="status">{outcome}</p>
          {flowId && (
            <Descope
              flowId={flowId}
              theme="os"
              onSuccess={steppedUp}
              onError={() => setOutcome("That did not work. Nothing was transferred.")}
            />
          )}
        </>
      ) : (
        <Descope flowId="sign-up-or-in" theme="os" />
      )}
      <p><a href="/component.html">The same with the web component</a></p>
    </main>
  );
}
