// Two pages: the React app, and the web component without a framework.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const page = (name) => fileURLToPath(new URL(name, import.meta.url));
const api = process.env.API ?? "http://localhost:8000";

export default defineConfig({
  build: {
    chunkSizeWarningLimit: 1500, // Descope's component is one file
    rollupOptions: { input: [page("index.html"), page("component.html")] },
  },
  // `npm run dev` beside `python -m examples.react`.
  server: { proxy: { "/api": api, "/settings.json": api } },
});
