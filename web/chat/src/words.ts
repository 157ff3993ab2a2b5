/** What things are called on the page. */

import type { AgentView, Fate, RunView, SectionView, Settled, State, StatusView, ToolView } from "agent-ws-client";

type Words<Key extends string> = Readonly<Record<Key, string>>;

export const TOOLS: Words<ToolView["state"]> = {
  planned: "planned",
  waiting: "preparing…",
  running: "running…",
  never_started: "never started",
  ok: "done",
  error: "failed",
  timeout: "timed out",
  denied: "refused",
  interrupted: "stopped",
};
export const FATES: Words<Fate> = {
  finished: "",
  finished_after_stop: "finished after the stop",
  cancelled: "stopped while running",
  running: "may still be running",
  never_started: "never started",
};
export const SECTIONS: Words<SectionView["state"]> = {
  planned: "",
  open: "",
  done: "",
  skipped: "skipped",
  interrupted: "stopped",
};
export const AGENTS: Words<AgentView["state"]> = {
  going: "",
  finished: "done",
  failed: "failed",
  stopped: "stopped",
  ended: "",
};
export const STATES: Partial<Words<StatusView["state"]>> = {
  working: "Working",
  retrying: "Trying again",
  fallback: "Trying another way",
  degraded: "Going on, reduced",
};
export const TASKS: Words<Settled["task"]> = {
  finished: "ran to its end",
  cancelled: "is gone",
  never_started: "never started",
  abandoned: "ignored the stop and was cut off; nothing more comes from it",
  lost: "was lost with the server",
};
/** By the reason of an interrupt: others give their own. */
export const REASONS: Readonly<Record<string, string>> = {
  user: "Stopped",
  superseded: "Stopped for your next message",
  orphaned: "Stopped: nobody was watching",
  shutdown: "Stopped: the server shut down",
};
export const LOST =
  "The server stopped while it was answering. What had come until then is kept; ask again for the rest.";
export const REJECTED: Readonly<Record<string, string>> = {
  busy: "Not sent: it is still answering",
  queue_full: "Not sent: too many messages are waiting",
  empty_message: "Not sent: there is no text in it",
  store_failed: "Not sent: the server could not keep it",
  rate_limited: "Not sent: too many messages in a short time",
  overloaded: "Not sent: the server is too busy at the moment",
  message_too_big: "Not sent: it is longer than the server takes",
};
export const CLOSED: Readonly<Record<number, string>> = {
  1000: "The server ended the connection.",
  1009: "A message was too long for the server.",
  4403: "This login may not use this server.",
  4404: "This conversation is no longer on the server, or it belongs to somebody else.",
  4410: "This conversation was deleted.",
  4429: "Too many requests from here: wait a little.",
};

/** The state of the connection. `now` is of the clock that `until` is of. */
export function connection(state: State, now: number, online: boolean): string {
  switch (state.name) {
    case "open":
      return "Connected";
    case "connecting":
      return state.restarting ? "The server is restarting…" : "Connecting…";
    case "resting":
      return "Resting until you write";
    case "closed":
      return state.code === 4401 ? "Not logged in" : "Not connected";
    case "waiting": {
      const left = Math.max(1, Math.ceil((state.until - now) / 1000));
      if (state.restarting) return `The server is restarting; trying again in ${left} s`;
      return online ? `Reconnecting in ${left} s` : "Offline";
    }
    default:
      return state satisfies never;
  }
}

export function seconds(n: number): string {
  if (n < 0.95) return `${Math.max(0, Math.round(n * 1000))} ms`;
  return n < 60 ? `${n.toFixed(1)} s` : `${Math.floor(n / 60)} min ${Math.round(n % 60)} s`;
}

export function pretty(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
}

/** How an answer ended, in a word or two; empty for one that is finished. */
export function ending({ ending, startedAt }: RunView): string {
  if (ending?.type !== "interrupted") return "";
  if (startedAt === null && ending.reason !== "shutdown") return "Withdrawn: never started";
  return REASONS[ending.reason || "user"] ?? `Stopped (${ending.reason})`;
}
