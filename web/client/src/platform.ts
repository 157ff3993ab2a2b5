/**
 * What the shells need of the place they run in, and where it is found in browsers, Node, Deno and Bun.
 *
 * The one rule: nothing else touches a global, so a test can be the whole world. The shapes are the least that is used,
 * so neither the DOM's types nor Node's are needed.
 */

export interface Socket {
  onopen: (() => void) | null;
  onmessage: ((message: { readonly data: unknown }) => void) | null;
  onclose: ((event: { readonly code: number; readonly reason: string }) => void) | null;
  onerror: ((event: unknown) => void) | null;
  send(data: string): void;
  close(): void;
}

export interface Request {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
}

export interface Response {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  readonly body: { getReader(): Reader } | null;
  json(): Promise<unknown>;
}

export interface Reader {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
}

/** Says when something changed for the better, until what it returns is called. */
export type Nudges = (nudge: (why: "online" | "visible") => void) => () => void;

export interface Platform {
  /** Without it only server-sent events are left. */
  readonly WebSocket?: (new (url: string, protocols: string[]) => Socket) | undefined;
  /** Without it only WebSockets are left. */
  readonly fetch?: ((url: string, request: Request) => Promise<Response>) | undefined;
  /** Returns what takes it back. */
  readonly later: (call: () => void, ms: number) => () => void;
  /** Milliseconds of any clock that never goes back. */
  readonly now: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
  /** A new name for a message, that nobody else has. */
  readonly id: () => string;
  readonly nudges: Nudges;
}

export interface AbortSignal {
  readonly aborted: boolean;
}

interface Target {
  addEventListener(type: string, listener: () => void): void;
  removeEventListener(type: string, listener: () => void): void;
}

interface Globals {
  WebSocket?: Platform["WebSocket"];
  fetch?: NonNullable<Platform["fetch"]>;
  setTimeout(call: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  performance: { now(): number };
  crypto: { getRandomValues(bytes: Uint8Array): Uint8Array };
  addEventListener?: Target["addEventListener"];
  removeEventListener?: Target["removeEventListener"];
  document?: Target & { readonly hidden: boolean };
  AbortController: new () => { readonly signal: AbortSignal; abort(): void };
  TextDecoder: new () => { decode(bytes?: Uint8Array, options?: { stream: boolean }): string };
}

export const globals: Globals = globalThis as unknown as Globals;

/** The place that this runs in, with what is `given` in place of its own. */
export function platform(given: Partial<Platform> = {}): Platform {
  return {
    WebSocket: globals.WebSocket,
    fetch: globals.fetch && ((url, request) => (globals.fetch as NonNullable<Platform["fetch"]>)(url, request)),
    later: (call, ms) => {
      const timer = globals.setTimeout(call, ms);
      return () => globals.clearTimeout(timer);
    },
    now: () => globals.performance.now(),
    random: Math.random,
    id: () => {
      // `crypto.randomUUID` is missing where a page is not secure.
      const bytes = globals.crypto.getRandomValues(new Uint8Array(12));
      return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    },
    nudges: pageNudges,
    ...given,
  };
}

const pageNudges: Nudges = (nudge) => {
  const { document } = globals;
  const online = (): void => nudge("online");
  const visible = (): void => {
    if (!document?.hidden) nudge("visible");
  };
  globals.addEventListener?.("online", online);
  document?.addEventListener("visibilitychange", visible);
  return () => {
    globals.removeEventListener?.("online", online);
    document?.removeEventListener("visibilitychange", visible);
  };
};
