/**
 * A client: the core and the fold, with a socket, timers and listeners around them.
 *
 * The one rule: it does what the core decides, in that order, and decides nothing.
 */

import type { Action, CoreOptions, Outcome, State, Stop, Wire } from "./actions.js";
import { Core } from "./core.js";
import { Fold } from "./fold.js";
import type { LimitsNotice, Say } from "./frames.js";
import { Http } from "./http.js";
import { type Platform, platform } from "./platform.js";
import type { Listener, Transport } from "./transport.js";
import type { RunView } from "./view.js";
import { overWebSocket } from "./websocket.js";

export interface ConnectOptions extends CoreOptions {
  /**
   * Where the server has a login: a new ticket for each WebSocket. Throw `Refused` where nobody is logged in; anything
   * else that is thrown counts as a lost connection.
   */
  readonly ticket?: (() => Promise<string | undefined>) | undefined;
  /** The same for server-sent events: what is sent along with each request (`authorization`). */
  readonly headers?: (() => Promise<Readonly<Record<string, string>>>) | undefined;
  /** In place of what the browser or Node has. */
  readonly platform?: Partial<Platform> | undefined;
}

export interface SendOptions {
  /** A name of your own for the message; said twice under the same one it is run once. */
  readonly id?: string | undefined;
  readonly when_busy?: Say["when_busy"] | undefined;
  /** Say nothing, but have the answer of this run go on, which was interrupted. */
  readonly continues?: string | undefined;
}

export interface Sent {
  readonly id: string;
  /** What became of it. Rejected only where the client is closed first. */
  readonly outcome: Promise<Outcome>;
}

/** A message that has no outcome yet. */
export interface PendingView {
  readonly id: string;
  readonly data: string;
  readonly when_busy: Say["when_busy"] | undefined;
  readonly continues: string | undefined;
  /** It may have arrived. */
  readonly sent: boolean;
}

/** All that there is to show. It never changes: another one takes its place. */
export interface ClientView {
  readonly state: State;
  readonly session: SessionView | null;
  readonly runs: readonly RunView[];
  readonly pending: readonly PendingView[];
  /** The log has been read, as far as it went when we connected: `runs` is not what it is being filled with. */
  readonly read: boolean;
}

/** What to keep in order to come back to the session, after a reload for example. */
export interface SessionView {
  readonly session: string;
  readonly token: string | undefined;
  readonly limits: LimitsNotice;
}

/** What has happened. `pending`: a message was said or taken back. */
export type Notice =
  | Extract<Action, { do: "state" | "session" | "event" | "reset" | "outcome" | "error" }>
  | { readonly do: "pending" };

/** Connect to the server at `url` (`https://host/path`), and stay connected until `close`. */
export function connect(url: string, options: ConnectOptions = {}): Client {
  return new Client(url, options);
}

export class Client {
  readonly #url: string;
  readonly #options: ConnectOptions;
  readonly #platform: Platform;
  readonly #core: Core;
  #fold = new Fold();
  #transport: Transport | null = null;
  #session: SessionView | null = null;
  #view: ClientView | null = null;
  readonly #listeners = new Set<(notice: Notice) => void>();
  readonly #outcomes = new Map<string, { resolve(outcome: Outcome): void; reject(error: Error): void }>();
  #unwake: (() => void) | null = null;
  readonly #unnudge: () => void;
  readonly #actions: (Action | Notice)[] = [];
  #acting = false;

  constructor(url: string, options: ConnectOptions) {
    this.#url = url;
    this.#options = options;
    this.#platform = platform(options.platform);
    const has: Record<Wire, unknown> = { ws: this.#platform.WebSocket, sse: this.#platform.fetch };
    const wires = (options.wires ?? (["ws", "sse"] as const)).filter((wire) => has[wire]);
    if (wires.length === 0)
      throw new Error("expected a WebSocket or fetch here, or in `options.platform`, got neither");
    this.#core = new Core({ ...options, wires }, this.#platform.random);
    this.#unnudge = this.#platform.nudges((why) => this.#do(this.#core.nudge(why, this.#now())));
    this.connect();
  }

  get view(): ClientView {
    this.#view ??= {
      state: this.#core.state,
      session: this.#session,
      runs: this.#fold.runs,
      pending: this.#core.pending.map(({ frame, sent }) => {
        const { id, data, when_busy, continues } = frame;
        return { id: id as string, data, when_busy, continues: continues ?? undefined, sent };
      }),
      read: this.#core.read,
    };
    return this.#view;
  }

  /** The whole text of a run's answer. */
  text(run: string): string {
    return this.#fold.text(run);
  }

  /** Be told what happens, when `view` has it. Returns what ends that. */
  subscribe(listener: (notice: Notice) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Come back now, after a `close` or a login for example. */
  connect(): void {
    this.#do(this.#core.connect(this.#now()));
  }

  /** Say something. It is kept, and said again after each return, until the server has answered it. */
  send(data: string, { id = this.#platform.id(), when_busy, continues }: SendOptions = {}): Sent {
    const outcome = new Promise<Outcome>((resolve, reject) => this.#outcomes.set(id, { resolve, reject }));
    outcome.catch(() => {}); // who doesn't ask need not know
    const frame = {
      ...({ type: "message", id, data } as const),
      ...(when_busy !== undefined && { when_busy }),
      ...(continues !== undefined && { continues }),
    };
    this.#do([...this.#core.send(frame, this.#now()), { do: "pending" }]);
    return { id, outcome };
  }

  /** Take back a message that has no outcome yet. What has left already is stopped as soon as it has a run. */
  withdraw(id: string): void {
    this.#do([...this.#core.withdraw(id, this.#now()), { do: "pending" }]);
  }

  /**
   * Stop a run, or a part of it (`agent`, `section`; with `redo` the section is written again). Without any of them
   * everything: what goes, what waits, and what is still on its way. `seen`: how many characters the person saw.
   */
  interrupt(stop: Stop = {}): void {
    this.#do(this.#core.interrupt(stop, this.#now()));
  }

  /** Hold the events; the run goes on. */
  pause(run?: string): void {
    this.#do(this.#core.pause(run, this.#now()));
  }

  continue(run?: string): void {
    this.#do(this.#core.continue(run, this.#now()));
  }

  /** Answer a request. */
  reply(request: string, data: unknown): void {
    this.#do(this.#core.reply(request, data, this.#now()));
  }

  /** Leave. The session and its run go on without us. */
  close(): void {
    this.#unnudge();
    this.#do(this.#core.close(this.#now()));
    for (const { reject } of this.#outcomes.values()) reject(new Error("closed before the server had answered"));
    this.#outcomes.clear();
  }

  #now(): number {
    return this.#platform.now();
  }

  /** In order for all listeners, also where one of them causes more. */
  #do(actions: readonly (Action | Notice)[]): void {
    this.#actions.push(...actions);
    this.#view = null;
    if (this.#acting) return;
    this.#acting = true;
    try {
      for (let action = this.#actions.shift(); action !== undefined; action = this.#actions.shift()) this.#act(action);
    } finally {
      this.#acting = false;
    }
  }

  #act(action: Action | Notice): void {
    switch (action.do) {
      case "connect":
        this.#transport?.drop();
        this.#transport = this.#open(action.wire);
        return undefined;
      case "send":
        return this.#transport?.send(action.frame);
      case "drop":
        this.#transport?.drop();
        this.#transport = null;
        return undefined;
      case "wake":
        this.#unwake?.();
        this.#unwake = null;
        if (action.at !== null) this.#wakeAt(action.at);
        return undefined;
      case "event":
        this.#fold.take(action.event);
        return this.#notify(action);
      case "reset":
        this.#fold = new Fold();
        return this.#notify(action);
      case "session": {
        const { session, token = this.#session?.token ?? this.#options.token, limits } = action.frame;
        this.#session = { session, token: token ?? undefined, limits };
        return this.#notify(action);
      }
      case "outcome":
        this.#outcomes.get(action.outcome.id as string)?.resolve(action.outcome);
        this.#outcomes.delete(action.outcome.id as string);
        return this.#notify(action);
      case "state":
      case "error":
      case "pending":
        return this.#notify(action);
      default:
        return action satisfies never;
    }
  }

  #wakeAt(at: number): void {
    this.#unwake = this.#platform.later(
      () => this.#do(this.#core.wake(this.#now())),
      Math.max(0, Math.ceil(at - this.#now())),
    );
  }

  #open(wire: Wire): Transport {
    const listener: Listener = {
      opened: () => this.#do(this.#core.opened(this.#now())),
      frame: (frame) => this.#do(this.#core.feed(frame, this.#now())),
      quiet: () => this.#do(this.#core.quiet(this.#now())),
      closed: (ending) => this.#do(this.#core.closed(ending, this.#now())),
    };
    const { WebSocket, fetch } = this.#platform;
    return wire === "ws" && WebSocket
      ? overWebSocket(this.#url, WebSocket, this.#options.ticket, listener)
      : new Http(
          this.#url,
          this.#platform,
          fetch as NonNullable<Platform["fetch"]>,
          this.#options.headers,
          () => this.#core.hello,
          listener,
        );
  }

  #notify(notice: Notice): void {
    this.#view = null;
    for (const listener of this.#listeners) {
      try {
        listener(notice);
      } catch (error) {
        // A listener's bug is its own: it reaches the top, and the others are told all the same.
        this.#platform.later(() => {
          throw error;
        }, 0);
      }
    }
  }
}
