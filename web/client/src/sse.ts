/**
 * Server-sent events out of their text (the HTML standard, "Interpreting an event stream"), cut anywhere.
 *
 * The one rule: it knows lines and fields, and nothing of what they mean.
 */

export interface ServerSent {
  /** Empty: it has no name. */
  readonly event: string;
  readonly data: string;
}

export class SseParser {
  #line = "";
  #event = "";
  #data: string[] = [];
  /** The text so far ended with CR: a LF that comes next belongs to it. */
  #wasReturn = false;
  #begun = false;

  feed(text: string): ServerSent[] {
    const found: ServerSent[] = [];
    let rest = text;
    if (!this.#begun && rest !== "") {
      this.#begun = true;
      if (rest.startsWith("\ufeff")) rest = rest.slice(1);
    }
    if (this.#wasReturn && rest !== "") {
      this.#wasReturn = false;
      if (rest.startsWith("\n")) rest = rest.slice(1);
    }
    const lines = (this.#line + rest).split(/\r\n|\r|\n/);
    this.#wasReturn = rest.endsWith("\r");
    this.#line = lines.pop() ?? "";
    for (const line of lines) {
      const sent = this.#take(line);
      if (sent !== null) found.push(sent);
    }
    return found;
  }

  #take(line: string): ServerSent | null {
    if (line === "") {
      const sent = this.#data.length > 0 ? { event: this.#event, data: this.#data.join("\n") } : null;
      this.#event = "";
      this.#data = [];
      return sent;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    return null; // a comment, or a field that is of no use to us
  }
}
