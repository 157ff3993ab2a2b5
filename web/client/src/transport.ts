/** What carries frames: a WebSocket, or requests and server-sent events. */

import type { Ending } from "./actions.js";
import type { ClientFrame, ServerControl, ServerEvent } from "./frames.js";

export interface Transport {
  send(frame: ClientFrame): void;
  /** Let go of it. Nothing comes from it any more. */
  drop(): void;
}

export interface Listener {
  opened(): void;
  frame(frame: ServerEvent | ServerControl): void;
  /** There is nothing behind the cursor. */
  quiet(): void;
  closed(ending: Ending): void;
}

/** Throw it where there is no login, from `ticket` or `headers`: the connection ends as if closed with `code`. */
export class Refused extends Error {
  readonly code: number;

  constructor(message: string, code = 4401) {
    super(message);
    this.name = "Refused";
    this.code = code;
  }
}

/** `https://host/path` or `wss://host/path/ws` as the address that all others begin with, with a slash at its end. */
export function base(url: string): string {
  const [address = ""] = url.replace(/^ws/, "http").split(/[?#]/);
  return `${address.replace(/\/(ws)?$/, "")}/`;
}
