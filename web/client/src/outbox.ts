/**
 * What was said and is not known to have been heard.
 *
 * The one rule: a frame stays until the server has shown that it was heard, and goes out once on each connection until
 * then. Each is idempotent, so saying it twice does no harm; a section to be written again is not, and is said once.
 */

import type { Interrupt, Ping, Rejected, Reply, Say } from "./frames.js";
import { bytes } from "./text.js";

type Frame = Say | Interrupt | Reply;
export type Key = `${"message" | "interrupt" | "reply"} ${string}`;

interface Kept {
  readonly frame: Frame;
  /** The ping behind it, whose answer shows that an interrupt was heard. 0: it has not been sent on this connection. */
  mark: number;
  /** It has been sent on some connection. */
  sent: boolean;
}

export class Outbox {
  /** In the order in which it was said. */
  readonly #kept = new Map<Key, Kept>();
  #marks = 0;

  get empty(): boolean {
    return this.#kept.size === 0;
  }

  /** Messages without an outcome; `sent`: they may have arrived. */
  get messages(): { readonly frame: Say; readonly sent: boolean }[] {
    return [...this.#kept.values()].flatMap(({ frame, sent }) => (frame.type === "message" ? [{ frame, sent }] : []));
  }

  /** Say this. What had the same key is replaced: the newest is the last. */
  keep(key: Key, frame: Frame): Kept {
    const kept = { frame, mark: 0, sent: false };
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    return kept;
  }

  get(key: Key): Kept | undefined {
    return this.#kept.get(key);
  }

  /** It was heard, or is wanted no more. False: it wasn't there. */
  forget(key: Key): boolean {
    return this.#kept.delete(key);
  }

  /** There is a new connection, on which nothing was said yet. */
  renew(): void {
    for (const kept of this.#kept.values()) kept.mark = 0;
  }

  /**
   * What has not been sent on this connection, to be sent now. `rejected` is no frame to send: that message is too big,
   * and stays until it is forgotten.
   */
  *flush(messageBytes: number): Generator<Frame | Ping | (Rejected & { readonly id: string })> {
    let marked = false;
    for (const [key, kept] of this.#kept) {
      const { frame } = kept;
      if (kept.mark > 0) continue;
      if (frame.type === "message" && bytes(JSON.stringify(frame)) > messageBytes) {
        const message = `expected a message of at most ${messageBytes} bytes, got a longer one`;
        yield { type: "rejected", id: frame.id as string, code: "message_too_big", message };
        continue;
      }
      if (frame.type === "interrupt" && frame.redo && kept.sent) {
        this.#kept.delete(key); // heard twice, it would be written a third time
        continue;
      }
      yield frame;
      this.cover(kept);
      marked ||= frame.type === "interrupt";
    }
    if (marked) yield this.mark();
  }

  /** It was sent on this connection: the next mark is behind it. */
  cover(kept: Kept): void {
    kept.mark = this.#marks + 1;
    kept.sent = true;
  }

  /** The ping whose answer shows that all interrupts before it were heard. */
  mark(): Ping {
    return { type: "ping", data: String(++this.#marks) };
  }

  /** Frames are served in their order, so whatever was said before this mark has been heard. */
  heard(mark: number): void {
    for (const [key, kept] of this.#kept)
      if (kept.frame.type === "interrupt" && kept.mark > 0 && kept.mark <= mark) this.#kept.delete(key);
  }
}
