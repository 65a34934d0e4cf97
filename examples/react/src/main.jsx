import { AuthProvider } from "@descope/react-sdk";
import { createRoot } from "react-dom/client";
import { App } from "./App.jsx";
import { baseUrl, projectId } from "./settings.js";

// On a project of yours, `projectId` alone is enough.
createRoot(document.getElementById("root")).render(
  <AuthProvider projectId={projectId} baseUrl={baseUrl} baseCdnUrl={baseUrl}>
    <App />
  </AuthProvider>,
);
