/** A conversation as a file of its own. */

import type { Block, RunView } from "agent-ws-client";
import { ending, pretty } from "./words.ts";

export function asJson(title: string, session: string | undefined, runs: readonly RunView[]): string {
  return `${JSON.stringify({ title, session, exported: new Date().toISOString(), runs }, null, 2)}\n`;
}

export function asMarkdown(title: string, runs: readonly RunView[]): string {
  const parts = runs.map((run) => {
    const said = run.messages.filter(({ steer }) => !steer).map(({ data }) => `**You**\n\n${quoted(data)}`);
    const end = run.ending?.type === "error" ? `Failed: ${run.ending.message || run.ending.code}` : ending(run);
    return [...said, "**Agent**", ...run.blocks.map(written), end && `*${end}*`].filter(Boolean).join("\n\n");
  });
  return `# ${title}\n\n${parts.join("\n\n---\n\n")}\n`;
}

function written(block: Block): string {
  switch (block.kind) {
    case "text":
      return block.data.trim();
    case "thinking":
      return `*Thinking*\n\n${quoted(block.data.trim())}`;
    case "tool":
      return [
        `*Tool ${block.name}: ${block.state}*`,
        fenced(pretty(block.input ?? block.written)),
        fenced(block.output),
      ]
        .filter(Boolean)
        .join("\n\n");
    case "outline":
      return block.sections.map(written).join("\n\n");
    case "section":
      return [`## ${block.title || block.section}`, ...block.blocks.map(written)].join("\n\n");
    case "agent":
      return [`### ${block.agent}`, ...block.blocks.map(written)].join("\n\n");
    case "request":
      return `*Asked: ${block.prompt} (${block.state})*${block.answer === null ? "" : `\n\n${fenced(pretty(block.answer))}`}`;
    case "message":
      return `**You**, meanwhile\n\n${quoted(block.data)}`;
    case "status":
      return "";
    default:
      return block satisfies never;
  }
}

function quoted(text: string): string {
  return text.replace(/^/gm, "> ");
}

function fenced(text: string): string {
  if (text === "" || text === "null") return "";
  const fence = "`".repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map(([run]) => run.length + 1)));
  return `${fence}\n${text}\n${fence}`;
}

/** Hand the person a file, without asking any server. */
export function download(name: string, type: string, data: string): void {
  const url = URL.createObjectURL(new Blob([data], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name.replace(/[^\p{L}\p{N} ._-]+/gu, " ").trim() || "conversation";
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
