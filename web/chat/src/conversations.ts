/**
 * The conversations of this browser.
 *
 * The one rule: it is a list of names for what the server holds. One with a token is kept in this browser. One without
 * belongs to a login and is kept as long as the tab, as the login is: who logs in next on this machine must not read
 * here what others talk about.
 */

import { Store } from "./store.ts";
import { get, set } from "./stored.ts";

export interface Conversation {
  readonly session: string;
  readonly token?: string | undefined;
  readonly title: string;
  /** What the person said in it, to be searched. */
  readonly words: string;
  /** When something was said last, in ms since 1970. */
  readonly at: number;
}

const LIST = "agent-ws.conversations";
const LAST = "agent-ws.session";
const MOST = 500;
const MOST_WORDS = 2_000;
const LONGEST_TITLE = 60;

export type Last = Pick<Conversation, "session" | "token">;

export class Conversations extends Store<readonly Conversation[]> {
  #all: readonly Conversation[] = read();

  constructor() {
    super();
    addEventListener("storage", ({ key }) => {
      if (key !== LIST) return;
      this.#all = read();
      this.changed();
    });
  }

  /** The newest first. */
  get view(): readonly Conversation[] {
    return this.#all;
  }

  /** The one that was begun last. */
  get last(): Last | undefined {
    return get<Last>("sessionStorage", LAST) ?? get<Last>("localStorage", LAST);
  }

  get(session: string): Last | undefined {
    const { last } = this;
    return this.#all.find((one) => one.session === session) ?? (last?.session === session ? last : undefined);
  }

  /** One was begun. */
  begin(last: Last): void {
    set(place(last), LAST, last);
  }

  /** Something was said in it. `messages`: all of them. */
  said(last: Last, messages: readonly string[], at: number): void {
    const before = this.#all.find((one) => one.session === last.session);
    const words = messages.join("\n").slice(-MOST_WORDS);
    if (before?.words === words || messages.length === 0) return;
    const title = before?.title ?? titled(messages[0] ?? "");
    this.#keep([...this.#others(last.session), { ...last, title, words, at }]);
  }

  rename(session: string, title: string): void {
    const words = title.trim().slice(0, 2 * LONGEST_TITLE);
    if (words) this.#keep(this.#all.map((one) => (one.session === session ? { ...one, title: words } : one)));
  }

  remove(session: string): void {
    this.#keep(this.#others(session));
    for (const where of ["localStorage", "sessionStorage"] as const)
      if (get<Last>(where, LAST)?.session === session) set(where, LAST, undefined);
  }

  #others(session: string): readonly Conversation[] {
    return this.#all.filter((one) => one.session !== session);
  }

  #keep(all: readonly Conversation[]): void {
    this.#all = sorted(all).slice(0, MOST);
    for (const where of ["localStorage", "sessionStorage"] as const) {
      const here = this.#all.filter((one) => place(one) === where);
      set(where, LIST, here.length > 0 ? here : undefined);
    }
    this.changed();
  }
}

function place({ token }: Last): "localStorage" | "sessionStorage" {
  return token === undefined ? "sessionStorage" : "localStorage";
}

function read(): readonly Conversation[] {
  return sorted([
    ...(get<Conversation[]>("localStorage", LIST) ?? []),
    ...(get<Conversation[]>("sessionStorage", LIST) ?? []),
  ]);
}

function sorted(all: readonly Conversation[]): readonly Conversation[] {
  return [...all].sort((a, b) => b.at - a.at);
}

/** Those in which each of the words occurs. */
export function found(all: readonly Conversation[], words: string): readonly Conversation[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  return all.filter(({ title, words }) => {
    const text = `${title}\n${words}`.toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
}

function titled(message: string): string {
  const line = message.trim().split("\n", 1)[0] ?? "";
  return line.length > LONGEST_TITLE ? `${line.slice(0, LONGEST_TITLE - 1).trimEnd()}…` : line;
}
