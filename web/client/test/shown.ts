/** A view in lines that a person can write by hand: how the fixtures say what is shown. */

import type { Block, MessageView, RunView } from "agent-ws-client";

export function shown(runs: readonly RunView[]): string[] {
  return runs.flatMap((run) => [
    words(
      run.run,
      run.phase,
      run.ending && (run.ending.type === "interrupted" ? `interrupted ${run.ending.reason}` : run.ending.type),
      run.ending?.type === "error" && run.ending.code,
      run.continues !== null && `continues=${run.continues}`,
      `chars=${run.chars}`,
      run.seen !== null && `seen=${run.seen}`,
      run.receipt && `task=${run.receipt.task}`,
    ),
    ...indented([...run.messages.map(message), ...run.blocks.flatMap(block)]),
  ]);
}

function message({ id, data, steer, taken }: MessageView): string {
  return words("message", id, JSON.stringify(data), steer && "steer", !taken && "unread");
}

function block(view: Block): string[] {
  const by = "agent" in view && view.kind !== "agent" && view.agent !== null && `by ${view.agent}`;
  switch (view.kind) {
    case "text":
    case "thinking":
      return [words(view.kind, JSON.stringify(view.data), by, view.seen !== null && `seen=${view.seen}`)];
    case "tool":
      return [
        words(
          ...["tool", view.tool, view.name, view.state],
          view.written && `written=${JSON.stringify(view.written)}`,
          view.input !== null && `input=${JSON.stringify(view.input)}`,
          view.ranAt === null ? "never ran" : view.endedAt !== null && `took=${Math.round(view.endedAt - view.ranAt)}`,
          view.output && `output=${JSON.stringify(view.output)}`,
          view.fate && `fate=${view.fate}`,
        ),
      ];
    case "outline":
      return ["outline", ...indented(view.sections.flatMap(block))];
    case "section":
      return [
        words("section", view.section, JSON.stringify(view.title), view.state, by, view.redo && "redo"),
        ...indented(view.blocks.flatMap(block)),
      ];
    case "agent":
      return [words("agent", view.agent, view.state, view.detail), ...indented(view.blocks.flatMap(block))];
    case "request":
      return [
        words(
          ...["request", view.request, view.asks, JSON.stringify(view.prompt), view.state, by],
          view.tool !== null && `tool=${view.tool}`,
          view.data !== null && `data=${JSON.stringify(view.data)}`,
          view.expires > 0 && `expires=${view.expires}`,
          view.answer !== null && `answer=${JSON.stringify(view.answer)}`,
        ),
      ];
    case "status":
      return [
        words(
          ...["status", view.state, view.detail, by],
          view.attempt > 0 && `attempt=${view.attempt}`,
          !view.streamed && "whole",
        ),
      ];
    case "message":
      return [message(view)];
    default:
      return view satisfies never;
  }
}

function words(...parts: (string | false | null | 0)[]): string {
  return parts.filter(Boolean).join(" ");
}

function indented(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}
