// The component of the documentation, on a page of its own.
import { AuthProvider } from "@descope/react-sdk";
import { createRoot } from "react-dom/client";
import { Checkout } from "documented-checkout";

const { projectId, baseUrl } = globalThis.settings;
const placed = [];
const onPlaced = (reply) => {
  placed.push(reply);
  document.title = `Placed: ${placed.join()}`;
};

createRoot(document.getElementById("root")).render(
  <AuthProvider projectId={projectId} baseUrl={baseUrl} baseCdnUrl={baseUrl}>
    <main>
      <Checkout onPlaced={onPlaced} />
    </main>
  </AuthProvider>,
);
