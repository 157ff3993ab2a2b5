/**
 * Text that grows, shrinks and is cut, and the one way to make elements.
 *
 * The one rule: what a person, a model or a tool wrote becomes text nodes, so no markup in it can ever act.
 * Lengths are in Unicode code points, as everywhere on the wire.
 */

/** An element. Functions become listeners; `true` an empty attribute; `false`, `null` and `undefined` none. Strings become text nodes. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function size(text) {
  let n = 0;
  for (const _ of text) n++;
  return n;
}

/** Where the `n`th code point begins, for `slice`. */
function offset(text, n) {
  let at = 0;
  for (const point of text) {
    if (n-- <= 0) break;
    at += point.length;
  }
  return at;
}

/** The line below a table's headings. */
const RULE = /^\|(?=.*-)[ :|-]+$/;

/** The blocks of Markdown that don't read well as they stand: headings, fenced code, tables. All else is a paragraph. */
function split(text) {
  const parts = [];
  let lines = [];
  let fence = null;
  const flush = (tag) => {
    if (tag === "p" && lines[0]?.startsWith("|") && RULE.test(lines[1])) tag = "table";
    if (lines.length || tag === "pre") parts.push({ tag, text: lines.join("\n") });
    lines = [];
  };
  for (const line of text.split("\n")) {
    const mark = /^ {0,3}(`{3,})/.exec(line)?.[1];
    if (fence !== null) {
      if (mark?.startsWith(fence) && line.trim() === mark) {
        flush("pre");
        fence = null;
      } else lines.push(line);
    } else if (mark) {
      flush("p");
      fence = mark;
    } else if (/^#{1,6} /.test(line)) {
      flush("p");
      parts.push({ tag: "h4", text: line.replace(/^#+ /, "") });
    } else if (line.trim() === "") flush("p");
    else lines.push(line);
  }
  flush(fence === null ? "p" : "pre");
  return parts;
}

/** The cells of a table's line. A bar inside code, or behind a backslash, is none of their borders. */
function cells(line) {
  const row = line.trim().replace(/\|$/, "");
  const found = (row.startsWith("|") ? row : `|${row}`).match(/\|(?:`[^`]*`|\\.|[^|])*/g);
  return found.map((cell) => cell.slice(1).trim().replaceAll("\\|", "|"));
}

const MARK = /`([^`\n]+)`|\*\*(?=\S)([^\n]+?)(?<=\S)\*\*|(?<![\w*])\*(?=[^\s*])((?:[^*\n]|(?<=\s)\*(?=\s))+?)(?<=\S)\*(?![\w*])/g;

/** Code, strong and emphasised words. */
function inline(text) {
  const nodes = [];
  let at = 0;
  for (const { 0: all, 1: code, 2: strong, 3: em, index } of text.matchAll(MARK)) {
    nodes.push(text.slice(at, index), code ? h("code", {}, code) : strong ? h("strong", {}, strong) : h("em", {}, em));
    at = index + all.length;
  }
  return [...nodes, text.slice(at)];
}

/** A stretch of one kind of text. Changes are cheap; `render` puts them on the page, once a frame. */
export class Text {
  /** How many code points of it count as seen. What lies behind is shown apart. */
  seen = Infinity;
  #data = "";
  #shown = h("div", { class: "text" });
  #unseen = h("div", {
    class: "text unseen",
    title: "Written, but not shown when you stopped it. The agent does not remember it.",
    hidden: true,
  });

  constructor(kind) {
    this.kind = kind;
    this.el = h("div", { class: kind }, this.#shown, this.#unseen);
    if (kind === "thinking") this.el = h("details", { class: kind }, h("summary", {}, "Thinking"), this.#shown);
  }

  append(data) {
    this.#data += data;
  }

  takeBack(n) {
    this.#data = this.#data.slice(0, offset(this.#data, size(this.#data) - n));
  }

  render() {
    const at = this.seen === Infinity ? this.#data.length : offset(this.#data, this.seen);
    fill(this.#shown, this.#data.slice(0, at));
    fill(this.#unseen, this.#data.slice(at));
    this.#unseen.hidden = at >= this.#data.length;
  }

  get data() {
    return this.#data;
  }
}

/** What each block shows, before it became nodes. */
const drawn = new WeakMap();

/** Make a table show its lines: the first has the headings, the second is the rule below them. */
function fillRows(table, [headings, , ...others]) {
  const lines = [headings, ...others];
  lines.forEach((line, i) => {
    const row = table.children[i] ?? table.appendChild(h("tr"));
    if (drawn.get(row) === line) return;
    drawn.set(row, line);
    row.replaceChildren(...cells(line).map((cell) => h(i ? "td" : "th", {}, ...inline(cell))));
  });
  while (table.children.length > lines.length) table.lastElementChild.remove();
}

/** Make `element` show `text`, leaving alone what it shows already: a selection in it survives the next word. */
function fill(element, text) {
  const parts = text === "" ? [] : split(text);
  parts.forEach((part, i) => {
    let child = element.children[i];
    if (child?.localName !== part.tag) {
      const made = h(part.tag);
      if (child) child.replaceWith(made);
      else element.append(made);
      child = made;
    }
    const before = drawn.get(child);
    if (before === part.text) return;
    drawn.set(child, part.text);
    if (part.tag === "table") {
      fillRows(child, part.text.split("\n"));
      return;
    }
    const plain = part.tag === "pre" || !/[`*]/.test(part.text);
    const grows = plain && child.childNodes.length === 1 && part.text.startsWith(before);
    if (grows) child.firstChild.appendData(part.text.slice(before.length));
    else child.replaceChildren(...(plain ? [part.text] : inline(part.text)));
  });
  while (element.children.length > parts.length) element.lastElementChild.remove();
}
