/**
 * The frames of the wire. PROTOCOL.md says what they mean.
 *
 * Made from `schema/` by `tests/client/write.py`; a test compares them. Not to be edited.
 */

/** The store has the message. */
export interface Accepted {
  readonly type: "accepted";
  readonly run: string;
  readonly id: string;
  readonly outcome: "queued" | "started" | "steered";
}

/** A tool call that an agent announces. */
export interface Call {
  readonly tool: string;
  readonly name: string;
}

export type ClientFrame = Hello | Say | Interrupt | Pause | Continue | Reply | Ping | Short;

/** Text of the answer, to be appended to what came before. */
export interface Content {
  readonly type: "content";
  readonly seq: number;
  readonly run: string;
  readonly data: string;
  readonly section?: string | null;
  readonly part?: number;
  readonly agent?: string | null;
}

/** Release them. */
export interface Continue {
  readonly type: "continue";
  readonly run?: string | null;
}

/** The agent finished. */
export interface Done {
  readonly type: "done";
  readonly seq: number;
  readonly run: string;
  readonly at: number;
  readonly stop_reason?: string;
  readonly usage?: Usage | null;
  readonly streamed?: boolean;
  readonly agent?: string | null;
}

/** The run failed. `code` is a key of `errors.CODES`; `message` is safe to show. */
export interface RunError {
  readonly type: "error";
  readonly seq: number;
  readonly run: string;
  readonly code: ErrorCode;
  readonly message?: string;
  readonly at: number;
  readonly agent?: string | null;
}

export type ErrorCode =
  | "agent_error"
  | "bad_event"
  | "bad_frame"
  | "binary_frame"
  | "busy"
  | "cannot_continue"
  | "conflict"
  | "deleted"
  | "empty_message"
  | "first_event_timeout"
  | "forbidden"
  | "hello_timeout"
  | "idle"
  | "internal_error"
  | "lost"
  | "message_too_big"
  | "method_not_allowed"
  | "not_found"
  | "old_connection"
  | "overloaded"
  | "provider_error"
  | "provider_timeout"
  | "queue_full"
  | "rate_limited"
  | "request_not_open"
  | "run_not_found"
  | "run_timeout"
  | "run_too_long"
  | "session_not_found"
  | "shutting_down"
  | "silence_timeout"
  | "slow_client"
  | "store_failed"
  | "text_frame"
  | "too_many_connections"
  | "too_many_sessions"
  | "tool_timeout"
  | "unauthorized";

/** A frame could not be served. */
export interface ErrorFrame {
  readonly type: "error";
  readonly code: ErrorCode;
  readonly message: string;
  readonly about?: string | null;
}

/** Opens a session or comes back to one. The first frame. */
export interface Hello {
  readonly type: "hello";
  readonly session?: string | null;
  readonly token?: string | null;
  readonly epoch?: string | null;
  readonly after?: number | null;
  readonly part?: number;
  readonly chunk?: "sentence" | "token" | "word" | null;
  readonly buffer_chars?: number | null;
  readonly buffer_ms?: number | null;
  readonly when_busy?: "interrupt" | "queue" | "reject" | "steer" | null;
  readonly ticket?: string | null;
}

/** Stop a run, all runs, or a part of one. */
export interface Interrupt {
  readonly type: "interrupt";
  readonly run?: string | null;
  readonly agent?: string | null;
  readonly section?: string | null;
  readonly seen?: number | null;
  readonly reason?: string | null;
  readonly redo?: boolean;
}

/** Somebody stopped the run. Nothing that its agent writes later is ever seen. */
export interface Interrupted {
  readonly type: "interrupted";
  readonly seq: number;
  readonly run: string;
  readonly at: number;
  readonly reason: string;
  readonly seen?: number | null;
  readonly agent?: string | null;
}

/** What a client has to keep to. */
export interface LimitsNotice {
  readonly message_bytes: number;
  readonly queued: number;
}

/** The sections that are going to fill in. */
export interface Outline {
  readonly type: "outline";
  readonly seq: number;
  readonly run: string;
  readonly sections: readonly Section[];
  readonly agent?: string | null;
}

/** Hold this connection's events. */
export interface Pause {
  readonly type: "pause";
  readonly run?: string | null;
}

/** Ask for a `pong`. */
export interface Ping {
  readonly type: "ping";
  readonly data?: string | null;
}

/** The answer to `ping`. */
export interface Pong {
  readonly type: "pong";
  readonly data?: string | null;
}

/** The message was not taken. */
export interface Rejected {
  readonly type: "rejected";
  readonly code: ErrorCode;
  readonly message: string;
  readonly id?: string | null;
}

/** Answer a request of the agent's. */
export interface Reply {
  readonly type: "reply";
  readonly request: string;
  readonly data?: unknown;
}

/** The agent asks the user and waits. */
export interface Request {
  readonly type: "request";
  readonly seq: number;
  readonly run: string;
  readonly request: string;
  readonly kind: "approval" | "question" | "tool";
  readonly prompt?: string;
  readonly tool?: string | null;
  readonly data?: unknown;
  readonly at: number;
  readonly expires?: number;
  readonly agent?: string | null;
}

/** The client's copy is no prefix of the log: the whole log follows. */
export interface Reset {
  readonly type: "reset";
  readonly epoch: string;
  readonly reason: "ahead" | "epoch";
}

/** A request is over, with the first reply or without one. */
export interface Resolved {
  readonly type: "resolved";
  readonly seq: number;
  readonly run: string;
  readonly request: string;
  readonly outcome: "cancelled" | "expired" | "replied";
  readonly data?: unknown;
  readonly agent?: string | null;
}

/** A message for the agent. */
export interface Say {
  readonly type: "message";
  readonly data: string;
  readonly id?: string | null;
  readonly when_busy?: "interrupt" | "queue" | "reject" | "steer" | null;
  readonly continues?: string | null;
}

/** One entry of an outline. */
export interface Section {
  readonly section: string;
  readonly title: string;
}

/** A section closes. */
export interface SectionEnd {
  readonly type: "section_end";
  readonly seq: number;
  readonly run: string;
  readonly section: string;
  readonly outcome: "done" | "interrupted" | "skipped";
  readonly agent?: string | null;
}

/**
 * A section opens; `Content` may name it until it ends. One that has ended begins anew: what it had is taken
 * back.
 */
export interface SectionStart {
  readonly type: "section_start";
  readonly seq: number;
  readonly run: string;
  readonly section: string;
  readonly title?: string;
  readonly redo?: boolean;
  readonly agent?: string | null;
}

/** A client told after the ending how much of the answer the user had seen. */
export interface Seen {
  readonly type: "seen";
  readonly seq: number;
  readonly run: string;
  readonly chars: number;
  readonly agent?: string | null;
}

export type ServerControl = SessionFrame | Reset | Accepted | Rejected | ErrorFrame | Pong;

export type ServerEvent =
  | Content
  | Thinking
  | Tools
  | ToolStart
  | ToolInput
  | ToolRun
  | ToolResult
  | Outline
  | SectionStart
  | SectionEnd
  | Status
  | User
  | Start
  | Request
  | Resolved
  | Done
  | Interrupted
  | RunError
  | Settled
  | Seen;

/** One session in a list. No frame: it is answered by HTTP. */
export interface SessionCard {
  readonly session: string;
  readonly title: string;
  readonly created: number;
  readonly updated: number;
  readonly going?: boolean;
}

/** The session, and the cursor from which its events follow. */
export interface SessionFrame {
  readonly type: "session";
  readonly session: string;
  readonly epoch: string;
  readonly after: number;
  readonly resumed: boolean;
  readonly limits: LimitsNotice;
  readonly token?: string | null;
  readonly tail?: number;
}

/** A part of a list. `next`: what to give as `before`, where there may be more. */
export interface SessionPage {
  readonly sessions: readonly SessionCard[];
  readonly next?: string | null;
}

/** The receipt: the run's task is really gone, or given up. */
export interface Settled {
  readonly type: "settled";
  readonly seq: number;
  readonly run: string;
  readonly task: "abandoned" | "cancelled" | "finished" | "lost" | "never_started";
  readonly at: number;
  readonly stop_ms: number;
  readonly upstream_closed?: boolean | null;
  readonly tools?: Readonly<Record<string, "cancelled" | "finished" | "finished_after_stop" | "never_started" | "running">>;
  readonly chunks: number;
  readonly chars: number;
  readonly seen?: number | null;
  readonly usage?: Usage | null;
  readonly agent?: string | null;
}

/** The short form of `message`, for the smallest client in the world. */
export interface Short {
  readonly message: string;
  readonly id?: string | null;
  readonly when_busy?: "interrupt" | "queue" | "reject" | "steer" | null;
}

/** The run's agent begins. */
export interface Start {
  readonly type: "start";
  readonly seq: number;
  readonly run: string;
  readonly at: number;
  readonly agent?: string | null;
}

/** Something to show while the run goes on. */
export interface Status {
  readonly type: "status";
  readonly seq: number;
  readonly run: string;
  readonly state: "degraded" | "failed" | "fallback" | "finished" | "reset" | "retrying" | "steered" | "stopped" | "working";
  readonly detail?: string;
  readonly attempt?: number;
  readonly chars?: number;
  readonly thinking?: number;
  readonly id?: string;
  readonly streamed?: boolean;
  readonly agent?: string | null;
}

/** The model's reasoning: shown apart, never part of the history. */
export interface Thinking {
  readonly type: "thinking";
  readonly seq: number;
  readonly run: string;
  readonly data: string;
  readonly section?: string | null;
  readonly part?: number;
  readonly agent?: string | null;
}

/** A piece of the input of a call that waits, as the model writes it: JSON text, to be appended. */
export interface ToolInput {
  readonly type: "tool_input";
  readonly seq: number;
  readonly run: string;
  readonly tool: string;
  readonly data: string;
  readonly agent?: string | null;
}

/** A tool's end. With `interrupted` it was written by the run's ending; the receipt tells the tool's real fate. */
export interface ToolResult {
  readonly type: "tool_result";
  readonly seq: number;
  readonly run: string;
  readonly tool: string;
  readonly outcome: "denied" | "error" | "interrupted" | "ok" | "timeout" | "withdrawn";
  readonly output?: string;
  readonly at: number;
  readonly agent?: string | null;
}

/** A call that waited has its whole input and may run: the tool begins. */
export interface ToolRun {
  readonly type: "tool_run";
  readonly seq: number;
  readonly run: string;
  readonly tool: string;
  readonly input?: unknown;
  readonly at: number;
  readonly agent?: string | null;
}

/** A tool call begins; unless it `waits`, the tool runs. */
export interface ToolStart {
  readonly type: "tool_start";
  readonly seq: number;
  readonly run: string;
  readonly tool: string;
  readonly name: string;
  readonly input?: unknown;
  readonly at: number;
  readonly waits?: boolean;
  readonly agent?: string | null;
}

/** Calls that the agent means to make. One that never gets a `ToolStart` never ran. */
export interface Tools {
  readonly type: "tools";
  readonly seq: number;
  readonly run: string;
  readonly calls: readonly Call[];
  readonly agent?: string | null;
}

/** Tokens as the provider counted them. Zero means: not reported. */
export interface Usage {
  readonly input_tokens?: number;
  readonly output_tokens?: number;
  readonly cache_read_tokens?: number;
  readonly cache_write_tokens?: number;
}

/** A message was taken for `run`. The same `id` again moves the message to that run. */
export interface User {
  readonly type: "user";
  readonly seq: number;
  readonly run: string;
  readonly id: string;
  readonly data: string;
  readonly at: number;
  readonly steer?: boolean;
  readonly continues?: string | null;
  readonly agent?: string | null;
}
