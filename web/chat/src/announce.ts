/**
 * What a screen reader is told.
 *
 * The one rule: whole sentences, in order, each once; what was there before the page was opened is not read aloud.
 */

import type { RunView } from "agent-ws-client";
import type { Chat } from "./chat.ts";
import { Store } from "./store.ts";
import { ending } from "./words.ts";

export interface Said {
  readonly key: number;
  readonly words: string;
}

/** Not for each word: who listens can't listen faster than this. */
const EVERY = 700;
const KEPT = 6;

export class Announcer extends Store<readonly Said[]> {
  readonly #chat: Chat;
  readonly #off: () => void;
  #said: readonly Said[] = [];
  #keys = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;
  /** How much of each answer was told; null: nothing more of it. */
  readonly #told = new Map<string, number | null>();
  readonly #asked = new Set<string>();
  #fresh = true;
  #open = false;

  constructor(chat: Chat) {
    super();
    this.#chat = chat;
    this.#off = chat.subscribe(() => {
      const { name } = chat.view.state;
      if (this.#open && name === "waiting") this.say("The connection is lost. Trying again.");
      if (!this.#open && name === "open" && !this.#fresh) this.say("Connected again.");
      this.#open = name === "open";
      const urgent =
        chat.view.runs.at(-1)?.phase === "ended" && this.#told.get(chat.view.runs.at(-1)?.run ?? "") !== null;
      if (urgent && !this.#fresh) this.#tell();
      this.#timer ??= setTimeout(() => {
        this.#timer = null;
        this.#tell();
      }, EVERY);
    });
  }

  get view(): readonly Said[] {
    return this.#said;
  }

  say(words: string): void {
    if (words.trim() === "") return;
    this.#said = [...this.#said, { key: ++this.#keys, words }].slice(-KEPT);
    this.changed();
  }

  close(): void {
    this.#off();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #tell(): void {
    const { runs, loaded } = this.#chat.view;
    if (!loaded) return;
    for (const run of runs.slice(-2)) {
      const mine = run.messages.some(({ id }) => this.#chat.mine.has(id));
      if (this.#fresh && !mine) this.#told.set(run.run, run.phase === "ended" ? null : this.#chat.text(run.run).length);
      this.#run(run);
    }
    for (const run of runs.slice(0, -2)) this.#told.set(run.run, null);
    this.#fresh = false;
  }

  #run(run: RunView): void {
    const told = this.#told.get(run.run) ?? (this.#told.has(run.run) ? null : 0);
    if (told === null) return;
    const text = this.#chat.text(run.run);
    const from = Math.min(told, text.length);
    const over = run.phase === "ended";
    const to = over ? text.length : from + sentences(text.slice(from));
    this.#told.set(run.run, over ? null : to);
    if (!over) this.say(plain(text.slice(from, to)));
    for (const block of requests(run))
      if (!this.#asked.has(block.request)) {
        this.#asked.add(block.request);
        if (block.state === "open") this.say(`The agent asks: ${block.prompt}`);
      }
    if (run.ending?.type === "done") this.say(`Answer finished. ${plain(text.slice(from))}`.trim());
    else if (run.ending?.type === "interrupted") this.say(`${ending(run)}.`);
    else if (run.ending) this.say(`The answer failed. ${run.ending.message ?? ""}`);
  }
}

function requests(run: RunView): readonly Extract<RunView["blocks"][number], { kind: "request" }>[] {
  const all: Extract<RunView["blocks"][number], { kind: "request" }>[] = [];
  const look = (blocks: RunView["blocks"]): void => {
    for (const block of blocks) {
      if (block.kind === "request") all.push(block);
      else if (block.kind === "outline") look(block.sections);
      else if (block.kind === "section" || block.kind === "agent") look(block.blocks);
    }
  };
  look(run.blocks);
  return all;
}

/** Where the last whole sentence in `text` ends. */
function sentences(text: string): number {
  let end = 0;
  for (const { index, 0: all } of text.matchAll(/[.!?:…]["')\]*_]*\s|\n/g)) end = index + all.length;
  return end;
}

/** Markdown without the marks that nobody wants to hear. */
function plain(text: string): string {
  return text
    .replace(/^\s*```.*$/gm, "")
    .replace(/[*_`#|]+/g, "")
    .trim();
}
