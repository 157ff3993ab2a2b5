/**
 * One conversation: the client, and what the person does with it.
 *
 * The one rule: what is shown is a function of the log and of what the person did here, drawn at most once a frame. From
 * the moment of a Stop its answer stays as it was on the screen: nobody wants to read on while it says *stopping*.
 */

import {
  type AnswerView,
  type Block,
  type Client,
  connect,
  head,
  joined,
  type LimitsNotice,
  type Outcome,
  type PendingView,
  type RunView,
  type Say,
  type State,
} from "agent-ws-client";
import { keep, take } from "./kept.ts";
import type { Login } from "./login.ts";
import { Store } from "./store.ts";
import { get, set } from "./stored.ts";
import { REJECTED } from "./words.ts";

export type WhenBusy = "queue" | "interrupt" | "steer";
/** A part of a run: it can be stopped alone. */
export type Part = { readonly section: string; readonly redo?: boolean } | { readonly agent: string };

export interface Refusal {
  readonly id: string;
  readonly data: string;
  readonly why: string;
}

/** Everything that waits for its turn. `run`: the log has it. */
export interface Waiting {
  readonly id: string;
  readonly data: string;
  readonly run: string | null;
  readonly when_busy: Say["when_busy"] | undefined;
  /** It is no message: the answer of this run is to go on. */
  readonly continues: string | undefined;
  /** The person took it back. */
  readonly leaving: boolean;
}

export interface ChatView {
  readonly state: State;
  readonly session: string | undefined;
  /** What has begun, and what ended without; what went on is one. */
  readonly runs: readonly AnswerView[];
  /** Sent, with nothing in its way: it begins at any moment. */
  readonly next: Waiting | null;
  readonly waiting: readonly Waiting[];
  readonly refused: readonly Refusal[];
  readonly active: RunView | null;
  readonly busy: boolean;
  /** What was asked for and has not happened: `stop r1`, `reply q1`, and what `asking` says. */
  readonly asked: ReadonlySet<string>;
  /** The log was read. */
  readonly loaded: boolean;
  /** What the server did not understand. */
  readonly fault: string;
}

export interface Known {
  readonly session: string | undefined;
  readonly token: string | undefined;
}

/** The server has named the conversation. `token`: it is new, and this opens it. */
export type Opened = (named: { readonly session: string; readonly token: string | undefined }) => void;

const OUTBOX = "agent-ws.outbox";
/** A log is drawn when it is there; where nothing is shown meanwhile, as it comes, if that takes longer than this. */
const READING = 400;
/** The conversation is not for who asks, or is no more. */
const STRANGER: ReadonlySet<number> = new Set([4401, 4403, 4404, 4410]);

let keys = 0;

type Outbox = Readonly<Record<string, readonly Say[]>>;

export class Chat extends Store<ChatView> {
  readonly #client: Client;
  readonly #named: Opened;
  readonly #frozen = new Map<string, RunView>();
  readonly #asked = new Set<string>();
  readonly #leaving = new Set<string>();
  readonly #refused = new Map<string, Refusal>();
  /** Refused by a server on its way out: the one that comes next takes them. */
  readonly #again = new Map<string, PendingView>();
  readonly key: number = ++keys;
  /** Accepted, and the log has not said so yet: id to run. By requests that takes its time. */
  readonly #taken = new Map<string, Pick<Waiting, "data" | "run" | "continues">>();
  /** Messages that were said here. */
  readonly mine = new Set<string>();
  #view: ChatView;
  #known: Known;
  #fault = "";
  #frame = 0;
  #closed = false;
  /** Since when the log is being read. What was shown stays until it is there, so nobody sees it grow again. */
  #reading: number | null = null;
  /** All runs, as they were drawn last. */
  #drawn: readonly RunView[] = [];

  constructor(known: Known, login: Login, opened: Opened) {
    super();
    this.#known = known;
    this.#named = opened;
    if (known.session !== undefined) {
      this.#drawn = take(known.session);
      this.#reading = performance.now();
    }
    const outbox = get<Outbox>("sessionStorage", OUTBOX)?.[known.session ?? ""] ?? [];
    for (const { id } of outbox) this.mine.add(id ?? "");
    this.#client = connect(new URL(".", document.baseURI).href, {
      session: known.session,
      token: known.token,
      outbox,
      ticket: login.ticket,
      headers: login.headers,
    });
    this.#client.subscribe((notice) => {
      switch (notice.do) {
        case "session":
          this.#opened(notice.frame.session, notice.frame.token ?? undefined, notice.frame.resumed);
          break;
        case "reset":
          this.#reading ??= performance.now();
          break;
        case "event":
          if (notice.event.type === "user") this.#taken.delete(notice.event.id);
          if (notice.event.type === "resolved") this.#asked.delete(`reply ${notice.event.request}`);
          if (notice.event.type === "section_start")
            this.#asked.delete(`redo ${notice.event.run} ${notice.event.section}`);
          if (notice.event.type === "section_end")
            this.#asked.delete(`skip ${notice.event.run} ${notice.event.section}`);
          break;
        case "outcome":
          this.#outcome(notice.outcome);
          this.#save();
          break;
        case "error":
          // The first is an answer that another tab gave first; the others come with a close code, which says more.
          if (
            !["request_not_open", "session_not_found", "deleted", "shutting_down", "unauthorized"].includes(
              notice.error.code,
            )
          )
            this.#fault = `The server did not understand: ${notice.error.message || notice.error.code}`;
          break;
        case "state":
          if (notice.state.name === "open") this.#fault = "";
          // Refused: what was kept is not for who is here now.
          if (notice.state.name === "closed" && STRANGER.has(notice.state.code) && this.#reading !== null)
            this.#drawn = [];
          break;
        case "pending":
          this.#save();
          break;
        default:
          notice satisfies never;
      }
      this.#soon();
    });
    this.#view = this.#make();
    addEventListener("pagehide", this.#leave);
  }

  get view(): ChatView {
    return this.#view;
  }

  get known(): Known {
    return this.#known;
  }

  get limits(): LimitsNotice | undefined {
    return this.#client.view.session?.limits;
  }

  /** All runs, each by itself. */
  get log(): readonly RunView[] {
    return this.#drawn;
  }

  /** The whole text of an answer that ends with `run`, also of the runs that it went on from; up to `seen` of `run`. */
  answer(run: string, seen: number | null = null): string {
    const named = (name: string | null | undefined) => this.#drawn.find((drawn) => drawn.run === name);
    const before = named(named(run)?.continues);
    const text = this.text(run);
    return (before ? this.answer(before.run, before.seen) : "") + (seen === null ? text : head(text, seen));
  }

  /** The text that a run wrote. */
  text(run: string): string {
    return this.#client.text(run) || written(this.#drawn.find((drawn) => drawn.run === run)?.blocks ?? []);
  }

  /** The text of the messages that the server has not taken. */
  unsent(): string {
    const { next, waiting } = this.#view;
    return [...(next ? [next] : []), ...waiting].flatMap(({ data, run }) => (run === null && data) || []).join("\n\n");
  }

  connect(): void {
    this.#client.connect();
  }

  /** Leave it. The conversation and its answer go on. */
  close(): void {
    this.#closed = true;
    cancelAnimationFrame(this.#frame);
    removeEventListener("pagehide", this.#leave);
    this.#client.close();
  }

  // What the person does

  say(data: string, when_busy: WhenBusy | undefined): void {
    this.#fault = "";
    const { id } = this.#client.send(data, { when_busy: this.view.busy ? when_busy : undefined });
    this.mine.add(id);
    this.#now();
  }

  /** Have the answer of a run that was stopped go on. */
  goOn(run: string): void {
    this.#fault = "";
    const { id } = this.#client.send("", { continues: run });
    this.mine.add(id);
    this.#now();
  }

  /** Stop what goes; where nothing has begun, take back the message that asked for it. */
  stop(): void {
    const { active, next } = this.#view;
    if (active) this.#stopRun(active);
    else if (next) this.withdraw(next);
  }

  stopPart(run: string, part: Part): void {
    this.#client.interrupt({ run, ...part });
    this.#asked.add(asking(run, part));
    this.#now();
  }

  reply(request: string, data: unknown): void {
    this.#asked.add(`reply ${request}`);
    this.#client.reply(request, data);
    this.#now();
  }

  /** Take a message back: it is not answered, or not any more. */
  withdraw({ id, run }: Waiting): void {
    this.#leaving.add(id);
    if (this.#again.delete(id)) this.#leaving.delete(id);
    else if (run === null) this.#client.withdraw(id);
    else this.#client.interrupt({ run });
    this.#now();
  }

  /** A refused message has been read. */
  dismiss(id: string): void {
    this.#refused.delete(id);
    this.#now();
  }

  #stopRun(run: RunView): void {
    if (this.#frozen.has(run.run)) return;
    this.#frozen.set(run.run, run);
    this.#client.interrupt({ run: run.run, seen: run.chars });
    this.#now();
  }

  // What the client says

  #opened(session: string, token: string | undefined, resumed: boolean): void {
    if (!resumed) this.#reading ??= performance.now();
    const fresh = this.#known.session !== session;
    this.#known = { session, token: token ?? this.#known.token };
    if (fresh) {
      this.#save();
      this.#named({ session, token });
    }
    const again = [...this.#again.values()];
    this.#again.clear();
    for (const { id, data, when_busy, continues } of again) this.#client.send(data, { id, when_busy, continues });
  }

  #outcome(outcome: Outcome): void {
    const id = outcome.id ?? "";
    const lost = this.#view.waiting.concat(this.#view.next ?? []).find((waiting) => waiting.id === id);
    if (outcome.type === "accepted") {
      const logged = this.#client.view.runs.some(({ messages }) => messages.some((message) => message.id === id));
      if (!logged && lost) this.#taken.set(id, { data: lost.data, run: outcome.run, continues: lost.continues });
      return;
    }
    this.#leaving.delete(id);
    if (outcome.type === "withdrawn" || lost === undefined) return;
    const { data, when_busy, continues } = lost;
    if (outcome.code === "shutting_down") this.#again.set(id, { id, data, when_busy, continues, sent: true });
    else if (outcome.code === "cannot_continue")
      return; // another tab was first, and shows here too
    else if (continues !== undefined) this.#fault = REJECTED[outcome.code] ?? `Not sent: ${outcome.message}`;
    else this.#refused.set(id, { id, data, why: REJECTED[outcome.code] ?? `Not sent: ${outcome.message}` });
  }

  /** Messages that have no outcome survive a reload. */
  #save(): void {
    const pending = this.#client.view.pending.map(({ id, data, when_busy, continues }) => ({
      type: "message",
      id,
      data,
      ...(when_busy !== undefined && { when_busy }),
      ...(continues !== undefined && { continues }),
    }));
    const all: Record<string, unknown> = { ...get<Outbox>("sessionStorage", OUTBOX) };
    delete all[""];
    delete all[this.#known.session ?? ""];
    if (pending.length > 0) all[this.#known.session ?? ""] = pending;
    set("sessionStorage", OUTBOX, Object.keys(all).length > 0 ? all : undefined);
  }

  readonly #leave = (): void => {
    const { state } = this.#client.view;
    const strange = state.name === "closed" && STRANGER.has(state.code);
    keep(strange ? undefined : this.#known.session, this.#drawn);
  };

  // Drawing

  /** Draw in the next frame. */
  #soon(): void {
    if (this.#frame === 0 && !this.#closed)
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.#now();
      });
  }

  #now(): void {
    this.#view = this.#make();
    this.changed();
  }

  #make(): ChatView {
    const { state, runs: log, pending, read } = this.#client.view;
    const slow = this.#drawn.length === 0 && log.length > 0 && performance.now() > (this.#reading ?? 0) + READING;
    if (read || slow) this.#reading = null;
    if (this.#reading === null) this.#drawn = log;
    const all = this.#drawn;
    const before = this.#view as ChatView | undefined;
    for (const { run, phase } of all) if (phase === "ended") this.#frozen.delete(run);
    const begun: RunView[] = [];
    const queue: Waiting[] = [];
    let active: RunView | null = null;
    for (const run of all) {
      if (run.phase !== "waiting") {
        const shown = this.#frozen.get(run.run) ?? run;
        begun.push(shown);
        if (run.phase === "going") active = shown;
      } else {
        const [message] = run.messages;
        const continues = run.continues ?? undefined;
        if (message) queue.push(this.#wait({ id: message.id, data: message.data, run: run.run, continues }));
      }
    }
    for (const [id, taken] of this.#taken) queue.push(this.#wait({ id, ...taken }));
    // Its events may come before its acceptance does.
    for (const { id, data, when_busy, continues } of [...pending, ...this.#again.values()])
      if (!all.some(({ messages }) => messages.some((message) => message.id === id)))
        queue.push(this.#wait({ id, data, run: null, when_busy, continues }));
    const next = active === null ? (queue.shift() ?? null) : null;
    const waiting = queue.filter(({ continues }) => continues === undefined);
    const asked = new Set(this.#asked);
    for (const run of this.#frozen.keys()) asked.add(`stop ${run}`);
    return {
      state,
      session: this.#known.session,
      runs: same(before?.runs, joined(begun)),
      next: before?.next && next && alike(before.next, next) ? before.next : next,
      waiting: same(before?.waiting, waiting, alike),
      refused: same(before?.refused, [...this.#refused.values()]),
      active,
      busy: active !== null || next !== null || waiting.length > 0,
      asked:
        before?.asked.size === asked.size && [...asked].every((key) => before.asked.has(key)) ? before.asked : asked,
      loaded: this.#reading === null || (before?.loaded ?? false),
      fault: this.#fault,
    };
  }

  #wait(message: Omit<Waiting, "when_busy" | "leaving"> & Partial<Pick<Waiting, "when_busy">>): Waiting {
    return { when_busy: undefined, ...message, leaving: this.#leaving.has(message.id) };
  }
}

/** The name in `ChatView.asked` of what is done to a part of a run. */
export function asking(run: string, part: Part): string {
  if ("agent" in part) return `stop ${run} ${part.agent}`;
  return `${part.redo ? "redo" : "skip"} ${run} ${part.section}`;
}

/** The text of an answer that was kept, whose log is not here. */
function written(blocks: readonly Block[]): string {
  return blocks
    .map((block) => {
      if (block.kind === "text") return block.data;
      return block.kind === "outline" ? written(block.sections) : "blocks" in block ? written(block.blocks) : "";
    })
    .join("");
}

function alike(a: Waiting, b: Waiting): boolean {
  return a.id === b.id && a.run === b.run && a.leaving === b.leaving && a.data === b.data;
}

/** `now`, or `before` where that is the same. */
function same<T>(before: readonly T[] | undefined, now: readonly T[], equal = (a: T, b: T) => a === b): readonly T[] {
  const unchanged = before?.length === now.length && before.every((item, i) => equal(item, now[i] as T));
  return unchanged ? before : now;
}
