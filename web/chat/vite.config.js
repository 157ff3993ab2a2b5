import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

/** Nothing is painted before the page has drawn what it kept: else a reload would show an empty one first. */
const drawnFirst = {
  name: "drawn-first",
  transformIndexHtml: {
    order: "post",
    handler: (html) => html.replace('<script type="module"', '<script type="module" blocking="render"'),
  },
};

/** Names without a hash: the server lets each file be asked for anew, and a new build is a small difference. */
export default defineConfig({
  plugins: [drawnFirst],
  base: "./", // the server may be mounted below a path
  resolve: { alias: { "agent-ws-client": fileURLToPath(new URL("../client/src/index.ts", import.meta.url)) } },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../../agent_ws/web",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    rolldownOptions: {
      output: {
        entryFileNames: "assets/chat.js",
        chunkFileNames: "assets/[name].js",
        assetFileNames: "assets/chat[extname]",
      },
    },
  },
});
