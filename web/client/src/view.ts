/**
 * What a person is shown of a session, as plain data.
 *
 * The one rule: a view never changes. What has changed since is another object, and what has not is the same one, so
 * `===` tells whether there is anything to draw anew, at every level.
 */

import type {
  Done,
  Interrupted,
  Request,
  Resolved,
  RunError,
  SectionEnd,
  Settled,
  Status,
  ToolResult,
} from "./frames.js";

/** What really became of a tool call. */
export type Fate = NonNullable<Settled["tools"]>[string];

/** One run: what the person said, what the agent did with it, and how that ended. */
export interface RunView {
  readonly run: string;
  /** `waiting`: its agent has not begun. */
  readonly phase: "waiting" | "going" | "ended";
  /** The run whose answer this one goes on with; its message is empty then. `joined` makes one answer of both. */
  readonly continues: string | null;
  /** The message, then all steering. */
  readonly messages: readonly MessageView[];
  /** What the agent did, in the order in which it is shown. */
  readonly blocks: readonly Block[];
  /** Characters of the answer, without what was taken back: what `seen` is counted in. */
  readonly chars: number;
  /** How many of them the person saw; null: all. */
  readonly seen: number | null;
  /** Seconds since 1970; null before the start. */
  readonly startedAt: number | null;
  readonly ending: Done | Interrupted | RunError | null;
  readonly receipt: Settled | null;
}

export interface MessageView {
  readonly kind: "message";
  readonly key: number;
  readonly id: string;
  readonly data: string;
  readonly at: number;
  /** It was said to a run that was going. */
  readonly steer: boolean;
  /** The agent has read it. What steers is a block of its run from then on. */
  readonly taken: boolean;
}

/** `key` stays with a block, and is unique in the run and in those that it goes on with. */
export type Block =
  | TextView
  | ToolView
  | OutlineView
  | SectionView
  | AgentView
  | RequestView
  | StatusView
  | MessageView;

export interface TextView {
  readonly kind: "text" | "thinking";
  readonly key: number;
  /** Which agent wrote it, where a run has more than one. */
  readonly agent: string | null;
  readonly data: string;
  /** How many characters of it the person saw; null: all. */
  readonly seen: number | null;
}

export interface ToolView {
  readonly kind: "tool";
  readonly key: number;
  readonly tool: string;
  readonly name: string;
  /** `planned`: announced. `waiting`: its input is being written, or a permission is missing. */
  readonly state: "planned" | "waiting" | "running" | "never_started" | Exclude<ToolResult["outcome"], "withdrawn">;
  /** The input as the model writes it: JSON text that may be cut anywhere. */
  readonly written: string;
  /** The whole input, once the tool may run. */
  readonly input: unknown;
  readonly output: string;
  /** Seconds since 1970: when the call began, when the tool began to run, when it ended. */
  readonly startedAt: number | null;
  readonly ranAt: number | null;
  readonly endedAt: number | null;
  /** What really became of it, as the receipt says. */
  readonly fate: Fate | null;
}

/** The sections that are going to fill in. */
export interface OutlineView {
  readonly kind: "outline";
  readonly key: number;
  readonly sections: readonly SectionView[];
}

export interface SectionView {
  readonly kind: "section";
  readonly key: number;
  readonly section: string;
  readonly title: string;
  readonly agent: string | null;
  readonly state: "planned" | "open" | SectionEnd["outcome"];
  /** An interrupt may ask for it to be written again. */
  readonly redo: boolean;
  readonly blocks: readonly Block[];
}

/** One of several agents. Those that run side by side are neighbours. */
export interface AgentView {
  readonly kind: "agent";
  readonly key: number;
  readonly agent: string;
  /** `ended`: its run ended first. */
  readonly state: "going" | "finished" | "failed" | "stopped" | "ended";
  readonly detail: string;
  readonly blocks: readonly Block[];
}

export interface RequestView {
  readonly kind: "request";
  readonly key: number;
  readonly request: string;
  readonly agent: string | null;
  readonly asks: Request["kind"];
  readonly prompt: string;
  /** The call that an approval is about. */
  readonly tool: string | null;
  readonly data: unknown;
  readonly at: number;
  /** Seconds since 1970; 0: never. */
  readonly expires: number;
  readonly state: "open" | Resolved["outcome"];
  readonly answer: unknown;
}

/** A line of news; the next one takes its place. */
export interface StatusView {
  readonly kind: "status";
  readonly key: number;
  readonly agent: string | null;
  readonly state: Status["state"];
  readonly detail: string;
  readonly attempt: number;
  /** False: the answer comes in one piece. */
  readonly streamed: boolean;
}
