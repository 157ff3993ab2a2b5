/**
 * The person's conversations, as the server lists them: the same on every device with this login or cookie.
 *
 * The one rule: the server knows, and what is shown here follows it. In the browser there is only which conversation was
 * the last, with the token that opens it where there is no cookie; one without a token belongs to a login and is kept as
 * long as the tab, as the login is.
 */

import { RequestError, remove, rename, type SessionCard, type SessionPage, sessions } from "agent-ws-client";
import type { Login } from "./login.ts";
import { Store } from "./store.ts";
import { get, set } from "./stored.ts";

export interface Conversation {
  readonly session: string;
  readonly title: string;
  /** When something was said last, in ms since 1970. */
  readonly at: number;
  /** It is being answered. */
  readonly going: boolean;
}

export interface ListView {
  /** What was searched for. */
  readonly words: string;
  /** What was found, or all; the newest first. */
  readonly shown: readonly Conversation[];
  /** There may be more of them. */
  readonly more: boolean;
  readonly reading: boolean;
  /** What could not be done. */
  readonly fault: string;
}

const LAST = "agent-ws.session";
const CHANNEL = "agent-ws.conversations";
/** What was listed when the page was left: shown after a reload until the server has been asked. */
const LISTED = "agent-ws.listed";
const PAGE = 50;
/** Found ones that are shown before more are asked for. */
const FOUND = 30;
/** How long a person who types is waited for. */
const TYPING = 200;
/** How soon the list is read behind what happens here. */
const SOON = 100;
const LONGEST_TITLE = 60;

export type Last = { readonly session: string; readonly token?: string | undefined };

export class Conversations extends Store<ListView> {
  readonly #login: Login;
  readonly #url = new URL(".", document.baseURI).href;
  readonly #channel = new BroadcastChannel(CHANNEL);
  #all: readonly Conversation[] = [];
  #next: string | undefined;
  #found: readonly Conversation[] = [];
  #foundNext: string | undefined;
  #words = "";
  /** Why the list could not be read. */
  #unread = "";
  /** What was asked for and could not be done, until the next thing is. */
  #undone = "";
  /** Titles of all that were ever listed here: also of one that a search does not show. */
  readonly #titles = new Map<string, string>();
  /** Deleted here: whatever the list says. */
  readonly #leaving = new Set<string>();
  #connected = false;
  #readings = 0;
  /** What is read for what is not wanted any more is thrown away. */
  #wanted = 0;
  #searched = 0;
  #typing: ReturnType<typeof setTimeout> | undefined;
  #soon: ReturnType<typeof setTimeout> | undefined;
  #view: ListView = { words: "", shown: [], more: false, reading: false, fault: "" };

  constructor(login: Login) {
    super();
    this.#login = login;
    this.#all = get<Conversation[]>("sessionStorage", LISTED) ?? [];
    set("sessionStorage", LISTED, undefined);
    for (const { session, title } of this.#all) this.#titles.set(session, title);
    this.#show();
    addEventListener("pagehide", () => set("sessionStorage", LISTED, this.#there(this.#all).slice(0, PAGE)));
    this.#channel.addEventListener("message", () => this.refresh());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.refresh();
    });
  }

  get view(): ListView {
    return this.#view;
  }

  /** The one that was begun last. */
  get last(): Last | undefined {
    return get<Last>("sessionStorage", LAST) ?? get<Last>("localStorage", LAST);
  }

  /** The token that opens a conversation, where it is known. */
  token(session: string): string | undefined {
    const { last } = this;
    return last?.session === session ? last.token : undefined;
  }

  /** What one is called; undefined: it was never in the list. */
  title(session: string): string | undefined {
    return this.#titles.get(session);
  }

  /** One was begun. */
  begin(last: Last): void {
    set(last.token === undefined ? "sessionStorage" : "localStorage", LAST, last);
  }

  /** Whether the server can be asked at the moment. */
  connected(connected: boolean): void {
    this.#connected = connected;
    this.refresh();
  }

  /** Nobody is logged in: who comes next must not read here what others talk about. */
  clear(): void {
    this.#connected = false;
    this.#wanted++;
    this.#searched++;
    this.#all = this.#found = [];
    this.#next = this.#foundNext = undefined;
    this.#titles.clear();
    this.#unread = this.#undone = "";
    this.#show();
  }

  /** Something was said, or an answer has begun or ended. */
  said(): void {
    this.#undone = "";
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => {
      this.refresh();
      this.#tell();
    }, SOON);
  }

  /** Give one another title. */
  async rename(session: string, title: string): Promise<void> {
    const words = title
      .trim()
      .replace(/\s+/g, " ")
      .slice(0, 2 * LONGEST_TITLE);
    if (!words) return;
    const named = (one: Conversation) => (one.session === session ? { ...one, title: words } : one);
    this.#titles.set(session, words);
    this.#all = this.#all.map(named);
    this.#found = this.#found.map(named);
    await this.#do("The conversation could not be renamed", () =>
      rename(this.#url, session, words, { headers: this.#login.headers, token: this.token(session) }),
    );
  }

  /** Delete one for good. */
  async remove(session: string): Promise<void> {
    const token = this.token(session);
    this.#leaving.add(session);
    const done = await this.#do("The conversation could not be deleted", () =>
      remove(this.#url, session, { headers: this.#login.headers, token }),
    );
    if (done) this.gone(session);
    else this.#leaving.delete(session);
    this.#show();
  }

  /** One was deleted, here or elsewhere. */
  gone(session: string): void {
    for (const where of ["localStorage", "sessionStorage"] as const)
      if (get<Last>(where, LAST)?.session === session) set(where, LAST, undefined);
    this.#leaving.add(session);
    this.#titles.delete(session);
    this.#all = this.#all.filter((one) => one.session !== session);
    this.#show();
  }

  search(words: string): void {
    this.#words = words;
    this.#searched++;
    clearTimeout(this.#typing);
    if (words.trim()) this.#typing = setTimeout(() => this.#search(), TYPING);
    else this.#found = [];
    this.#show();
  }

  more(): void {
    if (this.#words.trim()) this.#search(this.#found, this.#foundNext);
    else this.refresh(this.#all.length + PAGE);
  }

  /** Read the list anew, `count` of it or as much as there was. */
  refresh(count = this.#all.length): void {
    if (!this.#connected) return;
    const wanted = ++this.#wanted;
    this.#read({}, [], undefined, count, () => wanted === this.#wanted).then((read) => {
      if (read === null) return;
      this.#next = read.next;
      this.#all = read.cards;
      this.#show();
    });
    if (this.#words.trim()) this.#search();
  }

  #search(found: readonly Conversation[] = [], before?: string): void {
    if (!this.#connected) return;
    const searched = ++this.#searched;
    const count = Math.max(this.#found.length, found.length + FOUND);
    this.#read({ words: this.#words }, found, before, count, () => searched === this.#searched).then((read) => {
      if (read === null) return;
      this.#found = read.cards;
      this.#foundNext = read.next;
      this.#show();
    });
  }

  /** Read pages until there are `count`. Null: it is not wanted any more, or could not be read. */
  async #read(
    what: { readonly words?: string },
    known: readonly Conversation[],
    from: string | undefined,
    count: number,
    wanted: () => boolean,
  ): Promise<{ cards: readonly Conversation[]; next: string | undefined } | null> {
    let [cards, before] = [known, from];
    this.#readings++;
    this.#show();
    try {
      do {
        const options = { ...what, before, limit: PAGE, headers: this.#login.headers };
        const page: SessionPage = await sessions(this.#url, options);
        if (!wanted()) return null;
        cards = [...cards, ...page.sessions.map(shown)];
        before = page.next ?? undefined;
        for (const { session, title } of page.sessions) this.#titles.set(session, title);
      } while (before !== undefined && cards.length < count);
      this.#unread = "";
      return { cards, next: before };
    } catch (error) {
      // Without a network the page says so already, and without a login it asks for one.
      if (!(error instanceof RequestError)) throw error;
      if (wanted() && error.status !== 0 && error.status !== 401)
        this.#unread = `The conversations could not be listed: ${error.message}`;
      return null;
    } finally {
      this.#readings--;
      this.#show();
    }
  }

  async #do(failure: string, request: () => Promise<unknown>): Promise<boolean> {
    this.#undone = "";
    this.#show();
    try {
      await request();
      return true;
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      this.#undone = `${failure}: ${error.status ? error.message : "the server can't be reached"}`;
      return false;
    } finally {
      this.refresh();
      this.#tell();
      this.#show();
    }
  }

  /** Other tabs read the list too. */
  #tell(): void {
    this.#channel.postMessage("changed");
  }

  #there(listed: readonly Conversation[]): readonly Conversation[] {
    return listed.filter(({ session }) => !this.#leaving.has(session));
  }

  #show(): void {
    const searching = this.#words.trim() !== "";
    this.#view = {
      words: this.#words,
      shown: this.#there(searching ? this.#found : this.#all),
      more: (searching ? this.#foundNext : this.#next) !== undefined,
      reading: this.#readings > 0,
      fault: this.#undone || this.#unread,
    };
    this.changed();
  }
}

function shown({ session, title, updated, going }: SessionCard): Conversation {
  return { session, title, at: 1000 * updated, going: going ?? false };
}

/** The title of a conversation that begins with `message`, as the server makes it. */
export function titled(message: string): string {
  const line = (message.trim().split("\n", 1)[0] ?? "").replace(/\s+/g, " ");
  const letters = [...line];
  return letters.length > LONGEST_TITLE
    ? `${letters
        .slice(0, LONGEST_TITLE - 1)
        .join("")
        .trimEnd()}…`
    : line;
}
