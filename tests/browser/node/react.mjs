// React as modules that a browser can load: its own files, which are written for Node.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const require = createRequire(import.meta.url);
const file = (name, path) =>
  readFileSync(join(dirname(require.resolve(`${name}/package.json`)), "cjs", path), "utf-8");
const FILES = {
  react: file("react", "react.development.js"),
  "react-dom": file("react-dom", "react-dom.development.js"),
  "react-dom/client": file("react-dom", "react-dom-client.development.js"),
  scheduler: file("scheduler", "scheduler.development.js"),
};

// One registry for all: every module gets the same React.
const registry = `
globalThis.process = { env: { NODE_ENV: "development" } };
const files = { ${Object.entries(FILES)
  .map(([name, code]) => `${JSON.stringify(name)}(module, exports, require) {\n${code}\n}`)
  .join(",\n")} };
const loaded = (globalThis.reactModules ??= {});
const require = (name) => {
  if (!loaded[name]) {
    const module = (loaded[name] = { exports: {} });
    files[name](module, module.exports, require);
  }
  return loaded[name].exports;
};`;

const exported = (name) => {
  const names = Object.keys(require(name)).filter((one) => /^[A-Za-z]\w*$/.test(one));
  return `${registry}\nexport const { ${names.join(", ")} } = require(${JSON.stringify(name)});`;
};

export const REACT = exported("react");
export const REACT_DOM = exported("react-dom/client");
