/** Prints what the client adds to a page: all of it bundled, minified and gzipped. Fails where that is too much. */

import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const LIMIT = 12_000;

const { outputFiles } = await build({
  entryPoints: [new URL("dist/index.js", import.meta.url).pathname],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  write: false,
});
const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
console.log(
  `agent-ws-client: ${(outputFiles[0].contents.length / 1000).toFixed(1)} kB minified, ${(size / 1000).toFixed(1)} kB gzipped`,
);
if (size > LIMIT) {
  console.error(`expected at most ${LIMIT} bytes gzipped, got ${size}`);
  process.exitCode = 1;
}
