/** One answer, as an async iterator: for who wants no session, no view and no states of a connection. */

import { Client, type ConnectOptions, type SendOptions } from "./client.js";
import type { Reset, ServerEvent } from "./frames.js";
import type { RunView } from "./view.js";

/** `reset`: throw away what came so far, all of it follows again. */
export type AnswerEvent = ServerEvent | { readonly type: "reset"; readonly reason: Reset["reason"] };

/** The message was not taken, or the server can't be come back to. */
export class Unanswered extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = "Unanswered";
    this.code = code;
  }
}

/**
 * Say `message` and read the events of its answer, to its ending, which is the last: `done`, `interrupted` or `error`.
 * Lost connections are come back from, without a gap and without a double. Who leaves the loop early stops the run.
 */
export function streamWithRetry(url: string, message: string, options: ConnectOptions & SendOptions = {}): Answer {
  return new Answer(url, message, options);
}

export class Answer implements AsyncIterable<AnswerEvent> {
  /** For whatever else there is to do: `reply`, `pause`, a second message. */
  readonly client: Client;
  readonly #message: string;
  readonly #id: string;
  #run: string | undefined;
  readonly #events: AnswerEvent[] = [];
  #failed: Unanswered | null = null;
  #over = false;
  #wake: () => void = () => {};

  constructor(url: string, message: string, { id, when_busy, continues, ...options }: ConnectOptions & SendOptions) {
    this.client = new Client(url, options);
    this.#message = message;
    this.client.subscribe((notice) => {
      switch (notice.do) {
        case "event":
          this.#take(notice.event);
          break;
        case "reset":
          this.#events.length = 0;
          this.#events.push({ type: "reset", reason: notice.reason });
          break;
        case "outcome":
          if (notice.outcome.type === "accepted" && notice.outcome.id === this.#id) this.#run = notice.outcome.run;
          if (notice.outcome.type === "rejected") this.#fail(notice.outcome.code, notice.outcome.message);
          break;
        case "state":
          if (notice.state.name === "closed")
            this.#fail(notice.state.reason || "closed", `closed with ${notice.state.code}`);
          break;
        default:
          break;
      }
      this.#wake();
    });
    this.#id = this.client.send(this.#message, { id, when_busy, continues }).id;
  }

  /** The text of the answer so far. */
  get text(): string {
    return this.#run === undefined ? "" : this.client.text(this.#run);
  }

  /** What there is to show of it so far. */
  get view(): RunView | undefined {
    return this.client.view.runs.find(({ run }) => run === this.#run);
  }

  /** Stop it. Its ending, `interrupted`, comes as the last event. */
  interrupt(seen?: number): void {
    if (this.#run === undefined) this.client.withdraw(this.#id);
    else this.client.interrupt({ run: this.#run, seen });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<AnswerEvent, void, void> {
    try {
      while (true) {
        const event = this.#events.shift();
        if (event !== undefined) {
          yield event;
          if (event.type === "done" || event.type === "interrupted" || (event.type === "error" && "seq" in event))
            return;
        } else if (this.#failed !== null) {
          throw this.#failed;
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      if (!this.#over && this.#failed === null) this.interrupt();
      this.client.close();
    }
  }

  /** The run is the one that the message belongs to; where it moves, the new one. */
  #take(event: ServerEvent): void {
    if (event.type === "user" && event.id === this.#id) this.#run = event.run;
    if (event.run !== this.#run) return;
    this.#events.push(event);
    this.#over ||= event.type === "done" || event.type === "interrupted" || event.type === "error";
  }

  #fail(code: string, message: string): void {
    this.#failed ??= new Unanswered(code, message);
  }
}
