/**
 * Markdown as elements.
 *
 * The one rule: what an agent wrote becomes text nodes and a handful of elements that are named here. There is no HTML
 * string, so no markup in it can ever act; HTML in it is shown as it was written.
 */

import { Lexer, type MarkedToken, type Token, type Tokens } from "marked";
import type { ComponentChild, VNode } from "preact";
import { useRef } from "preact/hooks";
import { memo } from "../memo.ts";
import { type Block, Blocks } from "./blocks.ts";
import { Code } from "./Code.tsx";

const LINKS = new Set(["http:", "https:", "mailto:"]);
const NAMED: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };

interface Props {
  readonly text: string;
  /** More of it may follow. */
  readonly growing: boolean;
}

export const Markdown = memo(({ text, growing }: Props) => {
  const blocks = useRef<Blocks | null>(null);
  blocks.current ??= new Blocks();
  const all = blocks.current
    .read(text, !growing)
    .filter(({ token }) => token?.type !== "space" && token?.type !== "def");
  return all.map((block, i) => <Drawn key={block.at} block={block} growing={growing && i === all.length - 1} />);
});

const Drawn = memo(({ block: { token, raw }, growing }: { block: Block; growing: boolean }) =>
  token === null ? <p class="raw">{raw}</p> : block(token, growing),
);

/** A title: a line in which nothing but words can be marked. */
export const Title = memo(({ text }: { text: string }) => inline(line(text)));

/** A title's words alone, for what reads aloud and for names. */
export function titleWords(text: string): string {
  return words(line(text));
}

function line(text: string): readonly Token[] {
  try {
    return Lexer.lexInline(text, { gfm: true });
  } catch {
    return [{ type: "text", raw: text, text }]; // nested deeper than the stack
  }
}

function words(tokens: readonly Token[]): string {
  return tokens
    .map((given) => {
      const token = given as MarkedToken;
      if ("tokens" in token && token.tokens) return words(token.tokens);
      return token.type === "codespan" || token.type === "escape" ? token.text : decoded(token.raw);
    })
    .join("");
}

function block(given: Token, growing = false): VNode {
  const token = given as MarkedToken;
  switch (token.type) {
    case "heading":
      return heading(token);
    case "code":
      return <Code code={token.text} language={token.lang?.match(/^[\w+#-]+/)?.[0] ?? ""} growing={growing} />;
    case "blockquote":
      return <blockquote>{token.tokens.map((child) => inner(child))}</blockquote>;
    case "list":
      return list(token);
    case "table":
      return table(token);
    case "hr":
      return <hr />;
    case "paragraph":
      return <p>{inline(token.tokens)}</p>;
    default:
      return <p>{"tokens" in token && token.tokens ? inline(token.tokens) : token.raw}</p>;
  }
}

function inner(token: Token): ComponentChild {
  if (token.type === "space" || token.type === "def" || token.type === "checkbox") return null;
  return block(token);
}

/** The page has its own first and second level. */
function heading({ depth, tokens }: Tokens.Heading): VNode {
  const words = inline(tokens);
  if (depth === 1) return <h3>{words}</h3>;
  if (depth === 2) return <h4>{words}</h4>;
  return depth === 3 ? <h5>{words}</h5> : <h6>{words}</h6>;
}

function list({ ordered, start, items }: Tokens.List): VNode {
  const all = items.map((item) => (
    <li class={item.task ? "task" : undefined}>
      {item.task && (
        <input type="checkbox" checked={item.checked ?? false} disabled aria-label={item.checked ? "done" : "to do"} />
      )}
      {item.tokens.map((token) => (token.type === "text" && !item.loose ? inline([token]) : inner(token)))}
    </li>
  ));
  return ordered ? <ol start={start === "" ? 1 : start}>{all}</ol> : <ul>{all}</ul>;
}

function table({ header, rows }: Tokens.Table): VNode {
  return (
    <section class="table" tabIndex={0} aria-label="Table">
      <table>
        <thead>
          <tr>
            {header.map((cell) => (
              <th scope="col" data-align={cell.align ?? undefined}>
                {inline(cell.tokens)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr>
              {row.map((cell) => (
                <td data-align={cell.align ?? undefined}>{inline(cell.tokens)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function inline(tokens: readonly Token[]): ComponentChild[] {
  return tokens.map((given) => {
    const token = given as MarkedToken;
    switch (token.type) {
      case "text":
        return token.tokens ? inline(token.tokens) : decoded(token.text);
      case "escape":
        return token.text;
      case "strong":
        return <strong>{inline(token.tokens)}</strong>;
      case "em":
        return <em>{inline(token.tokens)}</em>;
      case "del":
        return <del>{inline(token.tokens)}</del>;
      case "codespan":
        return <code>{token.text}</code>;
      case "br":
        return <br />;
      case "link":
        return link(token.href, inline(token.tokens));
      case "image":
        return link(token.href, [`🖼 ${token.text || "picture"}`]);
      case "checkbox":
        return null;
      default:
        return token.raw;
    }
  });
}

/** A link that leaves the page in a tab of its own, or only its words where it would do anything else. */
function link(href: string, words: ComponentChild[]): ComponentChild {
  let url: URL;
  try {
    url = new URL(href);
  } catch {
    return words; // a path: on our origin it could be anything, also a logout
  }
  if (!LINKS.has(url.protocol)) return words;
  return (
    <a href={url.href} title={url.href} target="_blank" rel="noopener noreferrer nofollow">
      {words}
    </a>
  );
}

/** Character references, which Markdown takes from HTML. */
function decoded(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&(?:(amp|lt|gt|quot|apos|nbsp)|#(\d{1,7})|#x([\da-f]{1,6}));/gi, (all, name, decimal, hex) => {
    if (name) return NAMED[name.toLowerCase()] ?? all;
    const point = decimal ? Number(decimal) : Number.parseInt(hex, 16);
    return point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : all;
  });
}
