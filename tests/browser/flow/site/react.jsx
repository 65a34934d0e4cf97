// The sample of Descope's step-up guide, with a guarded API behind it.
import { AuthProvider, Descope, useDescope, useSession, useUser } from "@descope/react-sdk";
import { useCallback, useState } from "react";
import { createRoot } from "react-dom/client";

const { projectId, baseUrl, flowId } = globalThis.settings;

const App = () => {
  const { isAuthenticated, isSessionLoading, sessionToken } = useSession();
  const { user, isUserLoading } = useUser();
  const { logout } = useDescope();
  const [steps, setSteps] = useState([]);
  const [paid, setPaid] = useState("");

  const handleLogout = useCallback(() => logout(), [logout]);
  const pay = async () => {
    const headers = { Authorization: `Bearer ${sessionToken}` };
    const reply = await fetch("/checkout", { method: "POST", headers });
    setPaid(`paid: ${reply.status}`);
  };
  return (
    <main>
      <Descope
        flowId={flowId}
        onReady={() => setSteps((all) => [...all, "ready"])}
        onSuccess={() => setSteps((all) => [...all, "success"])}
        onError={() => setSteps((all) => [...all, "error"])}
      />
      <p id="steps">{steps.join(" ")}</p>
      {(isSessionLoading || isUserLoading) && <p>Loading...</p>}
      {isAuthenticated && user ? (
        <>
          <p id="hello">Hello {user.name}</p>
          <button id="pay" type="button" onClick={pay}>Pay</button>
          <button type="button" onClick={handleLogout}>Logout</button>
        </>
      ) : (
        <p>You are not logged in</p>
      )}
      <p id="paid">{paid}</p>
    </main>
  );
};

createRoot(document.getElementById("root")).render(
  <AuthProvider projectId={projectId} baseUrl={baseUrl} baseCdnUrl={baseUrl}>
    <App />
  </AuthProvider>,
);
