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

/** Blocks that text which follows may change. */
const LOOSE = 2;
/** A block that is longer than this is not read word by word for each word that is added to it. */
const LONGEST = 40_000;

export class Blocks {
  #text = "";
  #blocks: readonly Block[] = [];
  #links: Lexer["tokens"]["links"] = {};

  /** The blocks of `text`. `whole`: nothing follows, so a link may be explained below the place where it is used. */
  read(text: string, whole = false): readonly Block[] {
    const now = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
    const grown = now.startsWith(this.#text);
    const explained = whole && Object.keys(this.#links).length > 0;
    if (grown && now.length === this.#text.length && !explained) return this.#blocks;
    if (!grown) this.#links = {};
    const kept = grown && !explained ? this.#blocks.slice(0, loose(this.#blocks)) : [];
    const from = kept.reduce((sum, block) => sum + block.raw.length, 0);
    const fresh = this.#lex(now.slice(from), from);
    this.#blocks = [...kept, ...fresh.map((block) => this.#same(block))];
    this.#text = now;
    return this.#blocks;
  }

  #same(block: Block): Block {
    const before = this.#blocks.find(({ at }) => at === block.at);
    return before?.raw === block.raw && before.token !== null ? before : block;
  }

  #lex(text: string, from: number): Block[] {
    if (text.length > LONGEST && !text.slice(0, LONGEST).includes("\n\n"))
      return [{ at: from, raw: text, token: null }];
    let at = from;
    try {
      const lexer = new Lexer({ gfm: true });
      Object.assign(lexer.tokens.links, this.#links);
      const tokens = lexer.lex(text);
      this.#links = { ...tokens.links };
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
