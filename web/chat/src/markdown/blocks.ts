/**
 * Text that grows, as blocks of Markdown.
 *
 * The one rule: a block whose text has not changed is the same object, so it is not drawn anew; and what stands well
 * before the end is not even read again. Only the last two blocks can be changed by text that follows them.
 */

import { Lexer, type Token } from "marked";

export interface Block {
  readonly at: number;
  readonly raw: string;
  /** Null: too much for one block, shown as it is. */
  readonly token: Token | null;
}

/** Blocks that text which follows may change: a `#` at the end is a heading, and `#this` belongs to what is before it. */
const LOOSE = 2;
/** A link may be explained apart from its use. */
const DEFINED = /^ {0,3}\[[^\]\n]+\]:/m;
/** A block that is longer than this is not read word by word for each word that is added to it. */
const LONGEST = 40_000;

export class Blocks {
  #text = "";
  #blocks: readonly Block[] = [];
  /** All blocks were read with all those links known. */
  #whole = false;

  /** The blocks of `text`. `whole`: nothing follows, so a link may be explained below the place where it is used. */
  read(text: string, whole = false): readonly Block[] {
    const now = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
    const anew = whole && !this.#whole && DEFINED.test(now);
    if (now === this.#text && !anew) return this.#blocks;
    const grown = now.startsWith(this.#text);
    const kept = grown && !anew ? this.#blocks.slice(0, loose(this.#blocks)) : [];
    const from = kept.reduce((sum, block) => sum + block.raw.length, 0);
    const fresh = this.#lex(now.slice(from), from, kept);
    // A link that is explained now was none when its block was read.
    this.#blocks = anew ? fresh : [...kept, ...fresh.map((block) => this.#same(block))];
    this.#text = now;
    this.#whole = whole;
    return this.#blocks;
  }

  #same(block: Block): Block {
    const before = this.#blocks.find(({ at }) => at === block.at);
    return before?.raw === block.raw && before.token !== null ? before : block;
  }

  #lex(text: string, from: number, before: readonly Block[]): Block[] {
    if (text.length > LONGEST && !text.slice(0, LONGEST).includes("\n\n"))
      return [{ at: from, raw: text, token: null }];
    let at = from;
    try {
      const lexer = new Lexer({ gfm: true });
      const { links } = lexer.tokens;
      for (const { token } of before)
        if (token?.type === "def") links[token["tag"]] ??= { href: token["href"], title: token["title"] };
      const tokens = lexer.lex(text);
      return tokens.map((token) => {
        const block = { at, raw: token.raw, token };
        at += token.raw.length;
        return block;
      });
    } catch {
      return [{ at: from, raw: text, token: null }]; // nested deeper than the stack: shown as it is
    }
  }
}

function loose(blocks: readonly Block[]): number {
  let left = LOOSE;
  for (let i = blocks.length - 1; i >= 0; i--) if (blocks[i]?.token?.type !== "space" && --left === 0) return i;
  return 0;
}
