/**
 * The resume client without its socket: frames, losses, gestures and the time go in, what to do comes out.
 *
 * The one rule: it decides and never does. Time is an argument, in milliseconds of any clock; chance is one too. The
 * cursor moves only past an event that was handed on, so none is handed on twice, and none is left out. What a person
 * does is kept and said again after each return, until the server has shown that it was heard: every such frame is
 * idempotent, so saying one twice does no harm.
 *
 *     state        becomes
 *     connecting   open: by `session`; waiting or closed: by the end of the connection, or after `OPENING`
 *     open         waiting, resting or closed: by the close code
 *     waiting      connecting: after the back-off, or by a nudge
 *     resting      connecting: when there is something to say. The server closed it because nobody said anything
 *     closed       connecting: by `connect` alone
 *
 * `tests/fixtures/client.json` is what it must do, for clients in any language.
 */

import type { Action, CoreOptions, Ending, Outcome, State, Stop, Wire } from "./actions.js";
import { CLOSED, comesBack, IDLE, LOST, restarts } from "./codes.js";
import type {
  Accepted,
  ClientFrame,
  ErrorFrame,
  Hello,
  Interrupt,
  Pause,
  Say,
  ServerControl,
  ServerEvent,
  SessionFrame,
} from "./frames.js";
import { Outbox } from "./outbox.js";

/** The longest wait before attempt n is `min(MOST, FIRST * 2 ** n)`, the wait itself any time up to that. */
export const BACKOFF = { FIRST: 500, MOST: 15_000 } as const;
/** A connection that lived this long was a good one: the back-off begins anew. */
export const STABLE = 5_000;
/** From the first step of a connection to the `session` frame. */
export const OPENING = 10_000;
/** A dead link says nothing: after a silence ask, and wait for any answer. */
export const PROBE = { AFTER: 25_000, PATIENCE: 5_000 } as const;
/** A reply that came too fast is said again. */
export const AGAIN = 1_000;
/** How often a wire is tried that never worked, until another one has its turn. */
export const TRIES = 2;
/** How often one is tried that did work here: networks change without a word. */
export const LOYALTY = 4;

interface Cursor {
  epoch: string;
  after: number;
  part: number;
}

export class Core {
  #session: string | undefined;
  #token: string | undefined;
  readonly #options: CoreOptions;
  readonly #random: () => number;
  readonly #wires: readonly Wire[];

  #state: State = { name: "closed", code: CLOSED, reason: "" };
  #wire: Wire;
  #cursor: Cursor | null = null;
  /** The last event that the log had when its session was opened; null: it was not, yet. */
  #tail: number | null = null;
  /** `session` has opened the stream, and no `reset` is due. */
  #mayCome = false;
  #messageBytes = Number.POSITIVE_INFINITY;
  readonly #outbox = new Outbox();
  /** Messages that were withdrawn when they had left: their runs are stopped as soon as they are known. */
  readonly #unwanted = new Set<string>();
  /** Runs that have no ending; true: it has begun. */
  readonly #runs = new Map<string, boolean>();
  #paused: Pause | null = null;

  #attempt = 0;
  /** Attempts since one came to a `session`. */
  #failed = 0;
  /** The wire that worked in this network. */
  #works: Wire | null = null;
  #openedAt = 0;
  #restarting = false;
  #heard = 0;
  /** Until when something must be heard. */
  #deadline: number | null = null;
  #againAt: number | null = null;
  #armed: number | null = null;
  #actions: Action[] = [];

  constructor(options: CoreOptions, random: () => number) {
    this.#options = options;
    this.#random = random;
    this.#session = options.session;
    this.#token = options.token;
    this.#wires = options.wires ?? ["ws", "sse"];
    this.#wire = this.#wires[0] ?? "ws";
    for (const frame of options.outbox ?? []) this.#outbox.keep(`message ${frame.id}`, frame).sent = true;
  }

  get state(): State {
    return this.#state;
  }

  /** All that the log had when we connected is here: what comes now is new. */
  get read(): boolean {
    return this.#tail !== null && this.#tail <= (this.#cursor?.after ?? 0);
  }

  /** Messages without an outcome, in their order; `sent`: they may have arrived. */
  get pending(): readonly { readonly frame: Say; readonly sent: boolean }[] {
    return this.#outbox.messages;
  }

  /** What to open a connection with. */
  get hello(): Hello {
    const { chunk, buffer_chars, buffer_ms, when_busy } = this.#options;
    return {
      type: "hello",
      ...(this.#session !== undefined && { session: this.#session }),
      ...(this.#token !== undefined && { token: this.#token }),
      ...(this.#cursor !== null && { epoch: this.#cursor.epoch, after: this.#cursor.after }),
      ...(this.#cursor?.part && { part: this.#cursor.part }),
      ...(chunk !== undefined && { chunk }),
      ...(buffer_chars !== undefined && { buffer_chars }),
      ...(buffer_ms !== undefined && { buffer_ms }),
      ...(when_busy !== undefined && { when_busy }),
    };
  }

  // What happens to the connection

  /** Connect, or come back now, whatever was planned. */
  connect(now: number): Action[] {
    if (this.#state.name !== "connecting" && this.#state.name !== "open") this.#connect(now);
    return this.#done(now);
  }

  /** The connection is there, and nothing has been said yet. */
  opened(now: number): Action[] {
    this.#send(this.hello);
    if (this.#paused !== null) this.#send(this.#paused);
    return this.#done(now);
  }

  /** A frame came. */
  feed(frame: ServerEvent | ServerControl, now: number): Action[] {
    this.#heard = now;
    if (this.#state.name === "open") this.#deadline = null;
    if ("seq" in frame) this.#event(frame);
    else this.#control(frame, now);
    return this.#done(now);
  }

  /** There is nothing behind the cursor, so nothing was sent: the connection is as good as open. */
  quiet(now: number): Action[] {
    this.#tail ??= 0;
    if (this.#state.name === "connecting") this.#open(now);
    return this.#done(now);
  }

  /** The connection is gone. */
  closed(ending: Ending, now: number): Action[] {
    if (this.#state.name === "connecting" || this.#state.name === "open") this.#closed(ending, now);
    return this.#done(now);
  }

  /** It is the time that `wake` asked for. */
  wake(now: number): Action[] {
    this.#armed = null;
    const state = this.#state;
    if (this.#deadline !== null && now >= this.#deadline) this.#lose(now);
    else if (state.name === "waiting" && now >= state.until) this.#connect(now);
    else if (state.name === "open") {
      if (this.#againAt !== null && now >= this.#againAt) this.#flush();
      if (this.#deadline === null && now >= this.#heard + PROBE.AFTER) this.#probe(now);
    }
    return this.#done(now);
  }

  /** Something changed for the better: the network is back (`online`), or the person is (`visible`). */
  nudge(why: "online" | "visible", now: number): Action[] {
    if (why === "online") {
      this.#works = null; // it may be another network
      this.#failed = 0;
    }
    if (this.#state.name === "open") this.#probe(now);
    else if (this.#state.name === "waiting" || this.#state.name === "resting") this.#connect(now);
    return this.#done(now);
  }

  /** Leave for good. The session and its run go on. */
  close(now: number): Action[] {
    if (this.#state.name !== "closed") {
      if (this.#state.name === "connecting" || this.#state.name === "open") this.#do({ do: "drop" });
      this.#end({ name: "closed", code: CLOSED, reason: "" });
    }
    return this.#done(now);
  }

  // What the person does

  send(frame: Say & { readonly id: string }, now: number): Action[] {
    this.#outbox.keep(`message ${frame.id}`, frame);
    return this.#say(now);
  }

  /** Take a message back: one that has left is stopped as soon as it has a run. One that was accepted is no message any more. */
  withdraw(id: string, now: number): Action[] {
    this.#withdraw(id);
    return this.#done(now);
  }

  /**
   * Stop a run or a part of it; without `run` everything, also what is still in the outbox. What is said again after a
   * return names its runs, so that it can't hit one that began since.
   */
  interrupt(stop: Stop, now: number): Action[] {
    const { run, agent, section, redo, seen, reason } = stop;
    const frame = (of: string | undefined, saw: number | undefined): Interrupt => ({
      type: "interrupt",
      ...(of !== undefined && { run: of }),
      ...(agent !== undefined && { agent }),
      ...(section !== undefined && { section }),
      ...(redo && { redo }),
      ...(saw !== undefined && { seen: saw }),
      ...(reason !== undefined && { reason }),
    });
    this.#paused = null; // an interrupt lets the connection's events go on
    const going = [...this.#runs].find(([, begun]) => begun)?.[0];
    if (run !== undefined || agent !== undefined || section !== undefined) {
      const whole = frame(run ?? going, seen);
      this.#outbox.keep(`interrupt ${JSON.stringify(whole)}`, whole);
    } else {
      for (const { frame } of this.pending) this.#withdraw(frame.id as string);
      const open = this.#state.name === "open";
      if (open) this.#send(frame(undefined, seen));
      for (const [name, begun] of this.#runs) {
        const kept = this.#outbox.keep(`interrupt ${name}`, frame(name, begun ? seen : undefined));
        if (open) this.#outbox.cover(kept); // by what was just said
      }
      if (open) this.#send(this.#outbox.mark());
    }
    if (this.#state.name === "waiting") this.#connect(now); // a Stop can't wait for a back-off
    return this.#say(now);
  }

  /** Answer a request. */
  reply(request: string, data: unknown, now: number): Action[] {
    this.#outbox.keep(`reply ${request}`, { type: "reply", request, data });
    return this.#say(now);
  }

  /** Hold the events, on this connection and on those that come after it. */
  pause(run: string | undefined, now: number): Action[] {
    this.#paused = { type: "pause", ...(run !== undefined && { run }) };
    if (this.#state.name === "open") this.#send(this.#paused);
    return this.#done(now);
  }

  continue(run: string | undefined, now: number): Action[] {
    this.#paused = null;
    if (this.#state.name === "open") this.#send({ type: "continue", ...(run !== undefined && { run }) });
    return this.#done(now);
  }

  // The connection

  #connect(now: number): void {
    this.#wire = this.#choose();
    this.#mayCome = false;
    this.#outbox.renew();
    this.#againAt = null;
    this.#deadline = now + OPENING;
    this.#become({ name: "connecting", wire: this.#wire, restarting: this.#restarting });
    this.#do({ do: "connect", wire: this.#wire });
  }

  #choose(): Wire {
    const [best = "ws", other = best] = this.#wires;
    if (this.#works !== null) return this.#works;
    return this.#failed < TRIES || (this.#failed - TRIES) % 2 === 1 ? best : other;
  }

  #open(now: number): void {
    this.#openedAt = now;
    this.#heard = now;
    this.#deadline = null;
    this.#failed = 0;
    this.#works = this.#wire;
    this.#restarting = false;
    this.#become({ name: "open", wire: this.#wire });
    this.#flush();
  }

  /** Nothing came in time. */
  #lose(now: number): void {
    this.#do({ do: "drop" });
    this.#closed({ code: LOST }, now);
  }

  #closed({ code, reason = "", wait = 0 }: Ending, now: number): void {
    const opened = this.#state.name === "open";
    if (opened && now - this.#openedAt >= STABLE) this.#attempt = 0;
    if (!opened && comesBack(code) && ++this.#failed >= LOYALTY) this.#works = null; // else the wire did work
    const speaks = code === IDLE && !this.#outbox.empty;
    if (!comesBack(code) && !speaks) {
      const state: State = code === IDLE ? { name: "resting", code } : { name: "closed", code, reason };
      return this.#end(state);
    }
    // Until it is back, a server that said it restarts answers with a bare refusal.
    this.#restarting ||= restarts(code);
    // Full jitter: all clients of a restarted server must not come back in step.
    const longest = Math.min(BACKOFF.MOST, BACKOFF.FIRST * 2 ** this.#attempt++);
    const until = now + wait + Math.round(this.#random() * longest);
    this.#end({ name: "waiting", until, restarting: this.#restarting });
  }

  #end(state: State): void {
    this.#deadline = null;
    this.#againAt = null;
    this.#mayCome = false;
    this.#become(state);
  }

  #probe(now: number): void {
    if (this.#deadline !== null) return;
    this.#send({ type: "ping" });
    this.#deadline = now + PROBE.PATIENCE;
  }

  // Frames

  #control(frame: ServerControl, now: number): void {
    switch (frame.type) {
      case "session":
        return this.#take(frame, now);
      case "reset":
        this.#cursor = { epoch: frame.epoch, after: 0, part: 0 };
        this.#mayCome = true;
        this.#runs.clear();
        return this.#do({ do: "reset", reason: frame.reason });
      case "accepted":
        return this.#accepted(frame);
      case "rejected":
        if (frame.id) this.#settle(frame.id, frame);
        return undefined;
      case "error":
        return this.#error(frame, now);
      case "pong":
        return this.#outbox.heard(Number(frame.data ?? 0));
      default:
        frame satisfies never; // what a newer server says and we don't know is ignored
        return undefined;
    }
  }

  #take(frame: SessionFrame, now: number): void {
    this.#session = frame.session;
    this.#token = frame.token ?? this.#token;
    this.#messageBytes = frame.limits.message_bytes;
    this.#tail = frame.tail ?? 0;
    // Where the cursor was not honoured `reset` is due. The link may break before it comes: until then it stays what it was.
    this.#mayCome = frame.resumed || this.#cursor === null;
    if (this.#cursor === null) this.#cursor = { epoch: frame.epoch, after: frame.after, part: 0 };
    else if (frame.resumed) this.#cursor.epoch = frame.epoch;
    this.#do({ do: "session", frame });
    if (this.#state.name === "connecting") this.#open(now);
  }

  #event(event: ServerEvent): void {
    const cursor = this.#cursor;
    if (cursor === null || !this.#mayCome) return;
    const part = "part" in event ? (event.part ?? 0) : 0;
    if (event.seq < cursor.after || (event.seq === cursor.after && part <= cursor.part)) return; // a duplicate
    cursor.after = event.seq;
    cursor.part = part;
    switch (event.type) {
      case "user":
        if (!event.steer) this.#runs.set(event.run, false);
        break;
      case "start":
        this.#runs.set(event.run, true);
        break;
      case "done":
      case "interrupted":
      case "error":
        this.#runs.delete(event.run);
        break;
      case "resolved":
        this.#outbox.forget(`reply ${event.request}`);
        break;
      default:
        break;
    }
    this.#do({ do: "event", event });
  }

  #accepted(frame: Accepted): void {
    const unwanted = this.#unwanted.has(frame.id) && frame.outcome !== "steered"; // what steers is no run of its own
    this.#settle(frame.id, frame);
    if (!unwanted) return;
    this.#outbox.keep(`interrupt ${frame.run}`, { type: "interrupt", run: frame.run });
    this.#flush();
  }

  #settle(id: string, outcome: Outcome): void {
    this.#unwanted.delete(id);
    if (this.#outbox.forget(`message ${id}`)) this.#do({ do: "outcome", outcome });
  }

  #error(frame: ErrorFrame, now: number): void {
    const kept = this.#outbox.get(`reply ${frame.about}`);
    if (kept !== undefined && frame.code === "rate_limited") {
      kept.mark = 0;
      this.#againAt = now + AGAIN;
    } else if (kept !== undefined) {
      this.#outbox.forget(`reply ${frame.about}`);
    }
    this.#do({ do: "error", error: frame });
  }

  // The outbox

  #say(now: number): Action[] {
    if (this.#state.name === "resting") this.#connect(now);
    if (this.#state.name === "open") this.#flush();
    return this.#done(now);
  }

  /** Send what has not been sent on this connection. */
  #flush(): void {
    this.#againAt = null;
    for (const frame of this.#outbox.flush(this.#messageBytes)) {
      if (frame.type === "rejected") this.#settle(frame.id, frame);
      else this.#send(frame);
    }
  }

  #withdraw(id: string): void {
    const kept = this.#outbox.get(`message ${id}`);
    if (kept === undefined) return;
    if (kept.sent) this.#unwanted.add(id);
    else this.#settle(id, { type: "withdrawn", id });
  }

  // Actions

  #become(state: State): void {
    this.#state = state;
    this.#do({ do: "state", state });
  }

  #send(frame: ClientFrame): void {
    this.#do({ do: "send", frame });
  }

  #do(action: Action): void {
    this.#actions.push(action);
  }

  /** All that is to be done, and the time at which to look again. */
  #done(now: number): Action[] {
    const next = this.#next(now);
    // A timer that comes too early does no harm, and is not worth a call for each frame.
    if (next === null ? this.#armed !== null : this.#armed === null || next < this.#armed) {
      this.#armed = next;
      this.#do({ do: "wake", at: next });
    }
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }

  #next(now: number): number | null {
    if (this.#state.name === "waiting") return this.#state.until;
    if (this.#state.name !== "open") return this.#deadline;
    return Math.max(
      now,
      Math.min(this.#deadline ?? this.#heard + PROBE.AFTER, this.#againAt ?? Number.POSITIVE_INFINITY),
    );
  }
}
