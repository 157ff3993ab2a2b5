/**
 * Frames as requests and server-sent events by fetch, for networks that block WebSockets.
 *
 * The one rule: to the core it is a connection like any other. The events come by one stream of the whole session, which
 * ends where nothing is going and is asked for again by and by; each frame of the client's is a request of its own. A
 * message's own stream is read up to its acceptance and no further: it has one run's events only, so a cursor that
 * followed it would jump over those of others.
 */

import { LOST } from "./codes.js";
import type { ClientFrame, Hello, Interrupt, Ping, Reply, Say, ServerControl, ServerEvent } from "./frames.js";
import { globals, type Platform, type Response } from "./platform.js";
import { SseParser } from "./sse.js";
import { base, type Listener, Refused, type Transport } from "./transport.js";

/** Until it is asked whether another tab has said anything; and, behind an ending, for the receipt. */
const POLL = { IDLE: 5_000, FRESH: 250 } as const;
/** A stream that says nothing says so every 15 s. */
const PATIENCE = 20_000;
/** As far as an HTTP status is a close code, it is 4000 more. Too many requests: later. */
const CLOSES: ReadonlySet<number> = new Set([400, 401, 403, 404, 410, 500, 503]);
/** What a stream's last frame can say that is not to be come back to, and its status. */
const LAST: Readonly<Record<string, number>> = { unauthorized: 401, deleted: 410 };

type Headers = Readonly<Record<string, string>>;
type Frame = ServerEvent | ServerControl;
type Body = Readonly<Record<string, unknown>>;

export class Http implements Transport {
  readonly #base: string;
  readonly #platform: Platform;
  readonly #fetch: NonNullable<Platform["fetch"]>;
  readonly #headers: () => Promise<Headers>;
  readonly #hello: () => Hello;
  readonly #listener: Listener;

  #dropped = false;
  #paused = false;
  /** The stream of events, while there is one. */
  #stream: { abort(): void } | null = null;
  /** Something was said that the stream may not know of. */
  #news = false;
  #heard = 0;
  #unpoll: (() => void) | null = null;
  readonly #open = new Set<{ abort(): void }>();
  /** What has been asked and not answered, in words that a ping can wait for. */
  #asked: Promise<unknown> = Promise.resolve();
  /** Messages are said one after the other, or they might be taken in another order. */
  #said: Promise<unknown> = Promise.resolve();

  /** `hello` says where the client is, whenever it is asked. */
  constructor(
    url: string,
    platform: Platform,
    fetch: NonNullable<Platform["fetch"]>,
    headers: (() => Promise<Headers>) | undefined,
    hello: () => Hello,
    listener: Listener,
  ) {
    this.#base = `${base(url)}api/agent/`;
    this.#platform = platform;
    this.#fetch = fetch;
    this.#headers = headers ?? (async () => ({}));
    this.#hello = hello;
    this.#listener = listener;
    Promise.resolve().then(() => this.#dropped || listener.opened());
  }

  send(frame: ClientFrame): void {
    if (!("type" in frame)) return;
    switch (frame.type) {
      case "hello":
        return this.#follow(frame);
      case "message":
        this.#said = this.#said.then(() => this.#say(frame));
        return undefined;
      case "interrupt":
        this.#release();
        return this.#ask("interrupt", frame, frame.run);
      case "reply":
        return this.#ask("reply", frame, frame.request);
      case "pause":
        return this.#pause();
      case "continue":
        return this.#release();
      case "ping":
        this.#asked.then(() => this.#pong(frame));
        return undefined;
      default:
        return frame satisfies never;
    }
  }

  drop(): void {
    this.#dropped = true;
    this.#unpoll?.();
    for (const controller of this.#open) controller.abort();
  }

  // Events

  /** Follow the session from the cursor on, until nothing is going. */
  #follow({ session, token, epoch, after, part }: Hello): void {
    this.#unpoll?.();
    const controller = new globals.AbortController();
    this.#stream = controller;
    this.#news = false;
    this.#heard = this.#platform.now();
    const body = { session, token, epoch, after, part };
    let poll: number = POLL.IDLE;
    this.#read("stream", body, controller, (frame) => {
      if ("seq" in frame) poll = POLL.FRESH;
      this.#tell(frame);
      // The end of a login, or of the session: the stream is not cut off by a network.
      if (!("seq" in frame) && frame.type === "error" && frame.code in LAST) {
        this.#close(new Fault(LAST[frame.code] ?? 0, frame.code, frame.message, 0));
      }
      if (this.#paused) this.#unfollow();
      return true;
    }).then(
      (end) => {
        if (this.#stream !== controller || this.#dropped) return;
        this.#stream = null;
        if (end instanceof Fault) return this.#close(end);
        if (end === "cut") return this.#close();
        if (end === "empty") this.#listener.quiet();
        if (this.#paused) return;
        if (this.#news) this.#follow(this.#hello());
        else this.#unpoll = this.#platform.later(() => this.#follow(this.#hello()), poll);
      },
      (error: unknown) => this.#stream === controller && this.#fail(error),
    );
  }

  #unfollow(): void {
    const stream = this.#stream;
    this.#stream = null;
    this.#unpoll?.();
    stream?.abort();
  }

  #pause(): void {
    this.#paused = true;
    if (this.#hello().epoch !== undefined) this.#unfollow(); // else as soon as the session is known
  }

  #release(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#stream === null) this.#follow(this.#hello());
  }

  #pong({ data }: Ping): void {
    const dead = this.#stream !== null && this.#platform.now() - this.#heard > PATIENCE;
    if (!dead) this.#tell({ type: "pong", data: data ?? null });
  }

  // Frames of the client's

  async #say({ id, data, when_busy, continues }: Say): Promise<void> {
    const { session, token } = this.#hello();
    const controller = new globals.AbortController();
    try {
      const body = { session, token, message: data, id, when_busy, continues };
      const end = await this.#read("stream", body, controller, (frame) => {
        // The first message of all makes the session: without it the next would make another one.
        const begins = frame.type === "session" && this.#hello().session === undefined;
        if (begins || frame.type === "accepted") this.#tell(frame);
        return frame.type !== "accepted";
      });
      if (end instanceof Fault && !end.fatal) {
        this.#tell({ type: "rejected", id: id ?? null, code: end.code, message: end.message });
      } else if (end instanceof Fault) {
        this.#close(end);
      } else if (end === "left") {
        this.#news = true;
        if (this.#stream === null && !this.#paused) this.#follow(this.#hello());
      } else {
        this.#close(); // it was cut off, and nobody knows whether it was taken: it is said again
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      controller.abort();
    }
  }

  #ask(path: "interrupt" | "reply", frame: Interrupt | Reply, about: string | null | undefined): void {
    const { session, token } = this.#hello();
    const { type: _, ...what } = frame;
    const asking = this.#request(path, { session, token, ...what }, new globals.AbortController())
      .then(async (response) => {
        if (response.status === 200) return;
        const fault = await Fault.of(response);
        if (fault.fatal) this.#close(fault);
        else this.#tell({ type: "error", code: fault.code, message: fault.message, about: about ?? null });
      })
      .catch((error: unknown) => this.#fail(error));
    this.#asked = Promise.all([this.#asked, asking]);
  }

  // Requests

  async #request(
    path: string,
    body: Body,
    controller: InstanceType<typeof globals.AbortController>,
  ): Promise<Response> {
    this.#open.add(controller);
    const headers = await this.#headers();
    return await this.#fetch(this.#base + path, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream", ...headers },
      body: JSON.stringify(body),
      signal: controller.signal,
    });
  }

  /** Read a stream's frames while `take` says so: to its `end`, or until it was `left`, `cut` off, or had none. */
  async #read(
    path: string,
    body: Body,
    controller: InstanceType<typeof globals.AbortController>,
    take: (frame: Frame) => boolean,
  ): Promise<"end" | "left" | "cut" | "empty" | Fault> {
    try {
      const response = await this.#request(path, body, controller);
      if (response.status === 204) return "empty";
      if (response.status !== 200 || response.body === null) return await Fault.of(response);
      const reader = response.body.getReader();
      const decoder = new globals.TextDecoder();
      const parser = new SseParser();
      while (true) {
        const { done, value } = await reader.read();
        if (done || this.#dropped) return "cut";
        this.#heard = this.#platform.now();
        for (const { event, data } of parser.feed(decoder.decode(value, { stream: true }))) {
          if (event === "end") return "end";
          if (!take(frameOf(event, data))) return "left";
        }
      }
    } finally {
      this.#open.delete(controller);
    }
  }

  #tell(frame: Frame): void {
    if (!this.#dropped) this.#listener.frame(frame);
  }

  #fail(error: unknown): void {
    this.#close(error instanceof Refused ? new Fault(error.code - 4000, "unauthorized", error.message, 0) : undefined);
  }

  #close(fault?: Fault): void {
    if (this.#dropped) return;
    this.drop();
    if (fault === undefined) return this.#listener.closed({ code: LOST });
    const code = CLOSES.has(fault.status) ? 4000 + fault.status : fault.status === 413 ? 1009 : LOST;
    this.#listener.closed({ code, reason: fault.code, wait: fault.wait });
  }
}

type Code = Extract<ServerControl, { type: "rejected" }>["code"];

/** What a request was refused with. */
class Fault {
  constructor(
    readonly status: number,
    readonly code: Code,
    readonly message: string,
    readonly wait: number,
  ) {}

  static async of(response: Response): Promise<Fault> {
    const body = (await response.json().catch(() => null)) as { error?: { code?: Code; message?: string } } | null;
    const { code = "internal_error", message = `HTTP ${response.status}` } = body?.error ?? {};
    return new Fault(response.status, code, message, 1000 * (Number(response.headers.get("retry-after")) || 0));
  }

  /** It says something about all requests, not about this one. */
  get fatal(): boolean {
    const { status, code } = this;
    return status === 401 || status === 403 || code === "session_not_found" || code === "internal_error";
  }
}

/** Text comes without a name, as `content`. */
function frameOf(event: string, data: string): Frame {
  const frame = JSON.parse(data);
  if (event !== "") return frame;
  const { content, ...rest } = frame;
  return { type: "content", ...rest, data: content };
}
