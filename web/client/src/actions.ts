/** What the core is told, and what it decides: the words between it and whoever carries them out. */

import type {
  Accepted,
  ClientFrame,
  ErrorFrame,
  Hello,
  Rejected,
  Reset,
  Say,
  ServerEvent,
  SessionFrame,
} from "./frames.js";

/** `sse`: server-sent events by fetch, and a request for each frame, where WebSockets are blocked. */
export type Wire = "ws" | "sse";

export type State =
  | { readonly name: "connecting"; readonly wire: Wire; readonly restarting: boolean }
  | { readonly name: "open"; readonly wire: Wire }
  /** `until`: when it is tried again. `restarting`: the server said that it would be back. */
  | { readonly name: "waiting"; readonly until: number; readonly restarting: boolean }
  | { readonly name: "resting"; readonly code: number }
  | { readonly name: "closed"; readonly code: number; readonly reason: string };

/** What became of a message. `withdrawn`: it never left. */
export type Outcome = Accepted | Rejected | { readonly type: "withdrawn"; readonly id: string };

/** What the shell is to do, in this order. */
export type Action =
  | { readonly do: "connect"; readonly wire: Wire }
  | { readonly do: "send"; readonly frame: ClientFrame }
  /** Let go of the connection without waiting for its end. */
  | { readonly do: "drop" }
  /** Call `wake` then, and not at the time that was asked for before; null: not at all. */
  | { readonly do: "wake"; readonly at: number | null }
  | { readonly do: "state"; readonly state: State }
  | { readonly do: "session"; readonly frame: SessionFrame }
  | { readonly do: "event"; readonly event: ServerEvent }
  /** Throw the copy of the log away: the whole log follows. */
  | { readonly do: "reset"; readonly reason: Reset["reason"] }
  | { readonly do: "outcome"; readonly outcome: Outcome }
  | { readonly do: "error"; readonly error: ErrorFrame };

export interface CoreOptions {
  /** The session to come back to, with its token where the server gave one. */
  readonly session?: string | undefined;
  readonly token?: string | undefined;
  readonly chunk?: Hello["chunk"] | undefined;
  readonly buffer_chars?: Hello["buffer_chars"] | undefined;
  readonly buffer_ms?: Hello["buffer_ms"] | undefined;
  readonly when_busy?: Hello["when_busy"] | undefined;
  /** What may be tried, the better one first. */
  readonly wires?: readonly Wire[] | undefined;
  /** Messages that an earlier client of the same session had not seen accepted. */
  readonly outbox?: readonly Say[] | undefined;
}

export interface Stop {
  readonly run?: string | undefined;
  readonly agent?: string | undefined;
  readonly section?: string | undefined;
  readonly redo?: boolean | undefined;
  readonly seen?: number | undefined;
  readonly reason?: string | undefined;
}

export interface Ending {
  readonly code: number;
  readonly reason?: string;
  /** Milliseconds that the server asked to stay away. */
  readonly wait?: number;
}
