/** Builds the page anew and fails where the committed build is not byte for byte the same. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

const LIMIT = 120_000;

function files(folder) {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
  return new Map(names.sort().map((name) => [name, readFileSync(join(folder, name))]));
}

const root = fileURLToPath(new URL(".", import.meta.url));
const fresh = mkdtempSync(join(tmpdir(), "agent-ws-page-"));
try {
  await build({ root, logLevel: "error", build: { outDir: fresh } });
  const [made, committed] = [files(fresh), files(fileURLToPath(new URL("../../agent_ws/web", import.meta.url)))];
  const names = new Set([...made.keys(), ...committed.keys()]);
  const other = [...names].filter((name) => !made.get(name)?.equals(committed.get(name) ?? Buffer.alloc(0)));
  if (other.length > 0) {
    console.error(`agent_ws/web is not the build of these sources (${other.join(", ")}): npm run build in web/`);
    process.exitCode = 1;
  }
  const size = [...made.values()].reduce((sum, data) => sum + gzipSync(data, { level: 9 }).length, 0);
  console.log(`agent-ws-chat: ${(size / 1000).toFixed(1)} kB gzipped, ${made.size} files`);
  if (size > LIMIT) {
    console.error(`expected at most ${LIMIT} bytes gzipped, got ${size}`);
    process.exitCode = 1;
  }
} finally {
  rmSync(fresh, { recursive: true });
}
