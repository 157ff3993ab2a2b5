/**
 * What the folds of all languages must agree on: `tests/client/folded.py` in TypeScript.
 *
 *     node build/folded.js < logs > folds
 *
 * Each line is a log, a JSON array of events; the answer's line of it what its fold says.
 */

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { type Block, Fold, type RunView, type ServerEvent } from "agent-ws-client";

export function folded(events: readonly ServerEvent[]): unknown {
  const fold = new Fold();
  for (const event of events) fold.take(event);
  return fold.runs.map((run) => ({
    run: run.run,
    started: run.startedAt !== null,
    continues: run.continues,
    messages: run.messages.map(({ id, data, steer }) => [id, data, steer]),
    ending: run.ending?.type ?? null,
    task: run.receipt?.task ?? null,
    seen: run.seen,
    chars: run.chars,
    text: fold.text(run.run),
    texts: texts(run, "text"),
    thinking: texts(run, "thinking"),
    tools: Object.fromEntries(tools(run.blocks).map(({ tool, state, fate }) => [tool, [state, fate]])),
  }));
}

/** By agent, then by section; without what is empty. */
function texts(run: RunView, kind: "text" | "thinking"): unknown {
  const found = new Map<string, string>();
  const walk = (blocks: readonly Block[], section: string): void => {
    for (const block of blocks) {
      if (block.kind === kind) {
        const key = `${block.agent ?? ""}/${section}`;
        found.set(key, (found.get(key) ?? "") + block.data);
      } else if (block.kind === "agent") walk(block.blocks, section);
      else if (block.kind === "section") walk(block.blocks, block.section);
      else if (block.kind === "outline") walk(block.sections, section);
    }
  };
  walk(run.blocks, "");
  return Object.fromEntries([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function tools(blocks: readonly Block[]): Extract<Block, { kind: "tool" }>[] {
  return blocks.flatMap((block) => {
    if (block.kind === "tool") return [block];
    if (block.kind === "outline") return tools(block.sections);
    return "blocks" in block ? tools(block.blocks) : [];
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for await (const line of createInterface(process.stdin)) {
    process.stdout.write(`${JSON.stringify(folded(JSON.parse(line)))}\n`);
  }
}
