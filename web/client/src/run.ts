/**
 * One run, event by event.
 *
 * The one rule: an event finds its place by its ids alone (agent, section, tool, request). Text is also kept in the
 * log's order across all agents: that is how `seen` and `reset` count it, as `fold.RunView.pieces` does in Python.
 */

import type {
  Content,
  Outline,
  Request,
  Resolved,
  SectionEnd,
  SectionStart,
  ServerEvent,
  Settled,
  Status,
  Thinking,
  ToolInput,
  ToolResult,
  ToolRun,
  ToolStart,
  Tools,
} from "./frames.js";
import { Part } from "./part.js";
import {
  AgentPart,
  Flow,
  type MessagePart,
  OutlinePart,
  RequestPart,
  SectionPart,
  StatusPart,
  TextPart,
  ToolPart,
} from "./parts.js";
import { head, size } from "./text.js";
import type { RunView } from "./view.js";

type AgentEvent = Exclude<ServerEvent, { type: "user" }>;
type Agent = string | null;

/** A stretch of text: where it is shown, and how much of it counts. */
interface Piece {
  readonly part: TextPart;
  readonly section: string | null;
  size: number;
}

export class RunPart extends Part<RunView> {
  messages: MessagePart[] = [];
  continues: string | null = null;
  started = false;
  ending: RunView["ending"] = null;

  readonly #flow = new Flow(this);
  readonly #agents = new Map<string, AgentPart>();
  readonly #sections = new Map<string, SectionPart>();
  readonly #tools = new Map<string, ToolPart>();
  readonly #requests = new Map<string, RequestPart>();
  #pieces: Piece[] = [];
  /** The same of thinking. What a section had that began anew is shown no more, but counts on, as it does for agents. */
  readonly #thoughts: Piece[] = [];
  #chars = 0;
  #seen: number | null = null;
  #startedAt: number | null = null;
  #receipt: Settled | null = null;
  #keys = 0;

  constructor(readonly run: string) {
    super();
  }

  /** For the next block. */
  key(): number {
    return ++this.#keys;
  }

  /** It is the rest of the answer that `before` has the beginning of. */
  goOn(run: string, before: RunPart | undefined): void {
    this.continues = run;
    this.#keys = before?.key() ?? 0;
  }

  /** The whole text of the answer, in the log's order. */
  text(): string {
    const rest = new Map<TextPart, string>();
    return this.#pieces
      .map(({ part, size: chars }) => {
        const left = rest.get(part) ?? part.data;
        const data = head(left, chars);
        rest.set(part, left.slice(data.length));
        return data;
      })
      .join("");
  }

  /** Steering that the agent has read stands where it read it. */
  taken(message: MessagePart, agent: Agent): void {
    message.taken = true;
    message.touch();
    this.#of(agent).inner.add(message);
  }

  take(event: AgentEvent): void {
    switch (event.type) {
      case "start":
        this.started = true;
        this.#startedAt = event.at;
        return this.touch();
      case "content":
        return this.#content(event);
      case "thinking":
        this.#write(event, this.#thoughts);
        return undefined;
      case "tools":
        return this.#announce(event);
      case "tool_start":
        return this.#toolStart(event);
      case "tool_input":
        return this.#toolInput(event);
      case "tool_run":
        return this.#toolRun(event);
      case "tool_result":
        return this.#toolResult(event);
      case "outline":
        return this.#outline(event);
      case "section_start":
        return this.#sectionStart(event);
      case "section_end":
        return this.#sectionEnd(event);
      case "request":
        return this.#request(event);
      case "resolved":
        return this.#resolved(event);
      case "status":
        return this.#status(event);
      case "done":
      case "error":
        return this.#end(event);
      case "interrupted":
        this.#end(event);
        return this.#see(event.seen ?? null);
      case "seen":
        return this.#see(this.#seen === null ? event.chars : Math.min(this.#seen, event.chars));
      case "settled":
        return this.#settle(event);
      default:
        event satisfies never; // what a newer server says and we don't know is ignored
        return undefined;
    }
  }

  protected make(): RunView {
    return {
      run: this.run,
      continues: this.continues,
      phase: this.ending !== null ? "ended" : this.started ? "going" : "waiting",
      messages: this.messages.map((message) => message.view),
      blocks: this.#flow.views(),
      chars: this.#chars,
      seen: this.#seen,
      startedAt: this.#startedAt,
      ending: this.ending,
      receipt: this.#receipt,
    };
  }

  // Text

  #content(event: Content): void {
    this.#chars += this.#write(event, this.#pieces);
  }

  #write(event: Content | Thinking, pieces: Piece[]): number {
    const agent = event.agent ?? null;
    const section = event.section ?? null;
    const flow = (section !== null && this.#sections.get(section)?.flow) || this.#of(agent);
    const part = this.#tail(flow, event.type === "content" ? "text" : "thinking", agent);
    part.append(event.data);
    const chars = size(event.data);
    const last = pieces.at(-1);
    if (last?.part === part && last.section === section) last.size += chars;
    else pieces.push({ part, section, size: chars });
    return chars;
  }

  /** The text that is being written at the end. Agents that write at the same place in turns have one each. */
  #tail(flow: Flow, kind: "text" | "thinking", agent: Agent): TextPart {
    for (let i = flow.parts.length - 1; i >= 0; i--) {
      const part = flow.parts[i];
      if (!(part instanceof TextPart)) break;
      if (part.kind === kind && part.agent === agent) return part;
      if (part.agent === agent && part.data !== "") break;
    }
    return flow.add(new TextPart(this.key(), kind, agent));
  }

  /** Take back the last `chars` characters of an agent's; returns how many there were. */
  #takeBack(pieces: readonly Piece[], agent: Agent, chars: number): number {
    let left = chars;
    for (let i = pieces.length - 1; i >= 0 && left > 0; i--) {
      const piece = pieces[i];
      if (piece === undefined || piece.part.agent !== agent) continue;
      const taken = Math.min(left, piece.size);
      piece.part.takeBack(taken);
      piece.size -= taken;
      left -= taken;
    }
    return chars - left;
  }

  #see(seen: number | null): void {
    this.#seen = seen;
    this.touch();
    const of = new Map<TextPart, number>();
    let left = seen ?? 0;
    for (const { part, size: chars } of this.#pieces) {
      const visible = Math.min(chars, left);
      left -= visible;
      of.set(part, (of.get(part) ?? 0) + visible);
    }
    for (const [part, chars] of of) part.see(seen === null ? null : chars);
  }

  // Several agents

  /** Where an agent writes, or the only one. */
  #of(agent: Agent): Flow {
    return agent === null ? this.#flow : this.#agent(agent).flow;
  }

  #agent(name: string): AgentPart {
    let part = this.#agents.get(name);
    if (part === undefined) {
      part = this.#flow.add(new AgentPart(this.key(), name));
      this.#agents.set(name, part);
    } else if (part.state !== "going") {
      part.end("going"); // another one of its name
    }
    return part;
  }

  #status(event: Status): void {
    const agent = event.agent ?? null;
    switch (event.state) {
      case "reset":
        this.#chars -= this.#takeBack(this.#pieces, agent, event.chars ?? 0);
        this.#takeBack(this.#thoughts, agent, event.thinking ?? 0);
        return this.touch();
      case "steered":
        return; // `fold.ts` knows the message
      case "finished":
      case "failed":
      case "stopped":
        return agent === null ? this.#tell(event, agent) : this.#agent(agent).end(event.state, event.detail ?? "");
      default:
        return this.#tell(event, agent);
    }
  }

  #tell(event: Status, agent: Agent): void {
    const flow = this.#of(agent).inner;
    const last = flow.parts.at(-1);
    if (last instanceof StatusPart) flow.remove(last);
    flow.add(new StatusPart(this.key(), event));
  }

  // Sections

  #outline({ sections, agent }: Outline): void {
    const fresh = sections.filter(({ section }) => !this.#sections.has(section));
    if (fresh.length === 0) return;
    const outline = this.#of(agent ?? null).add(new OutlinePart(this.key()));
    for (const { section, title } of fresh) {
      const part = new SectionPart(this.key(), section, title);
      this.#sections.set(section, part);
      outline.add(part);
    }
  }

  #sectionStart(event: SectionStart): void {
    const outer = this.#of(event.agent ?? null);
    let part = this.#sections.get(event.section);
    if (part === undefined) {
      part = outer.inner.add(new SectionPart(this.key(), event.section, event.title ?? ""));
      this.#sections.set(event.section, part);
    } else if (part.outer !== null) {
      this.#anew(part);
    }
    part.start(event, outer);
  }

  /** A section begins anew: its text and thinking go. Its calls and requests stay: they did happen. */
  #anew(section: SectionPart): void {
    for (const part of section.flow.parts.filter((part) => part instanceof TextPart || part instanceof StatusPart)) {
      if (part instanceof TextPart) part.clear();
      section.flow.remove(part);
    }
    this.#pieces = this.#pieces.filter((piece) => {
      if (piece.section !== section.section) return true;
      this.#chars -= piece.size;
      return false;
    });
    this.touch();
  }

  #sectionEnd({ section, outcome }: SectionEnd): void {
    this.#sections.get(section)?.end(outcome);
  }

  // Tools

  #announce({ calls, agent }: Tools): void {
    for (const { tool, name } of calls) this.#tool(tool, name, agent ?? null);
  }

  #tool(tool: string, name: string, agent: Agent): ToolPart {
    let part = this.#tools.get(tool);
    if (part === undefined) {
      const flow = this.#of(agent).inner;
      part = flow.add(new ToolPart(this.key(), tool, name, flow));
      this.#tools.set(tool, part);
    }
    return part;
  }

  #toolStart({ tool, name, agent, waits, input, at }: ToolStart): void {
    const part = this.#tool(tool, name, agent ?? null);
    part.startedAt = at;
    part.state = waits ? "waiting" : "running";
    part.input = input ?? null;
    if (!waits) part.ranAt = at;
    part.touch();
  }

  #toolInput({ tool, data }: ToolInput): void {
    const part = this.#tools.get(tool);
    if (part === undefined) return;
    part.written += data;
    part.touch();
  }

  #toolRun({ tool, input, at }: ToolRun): void {
    const part = this.#tools.get(tool);
    if (part === undefined) return;
    part.state = "running";
    part.input = input ?? null;
    part.ranAt = at;
    part.touch();
  }

  #toolResult({ tool, outcome, output, at }: ToolResult): void {
    const part = this.#tools.get(tool);
    if (part === undefined) return;
    if (outcome === "withdrawn") return part.flow.remove(part);
    part.state = outcome;
    part.output = output ?? "";
    part.endedAt = at;
    part.touch();
  }

  // Questions to the person

  #request(event: Request): void {
    const part = this.#of(event.agent ?? null).inner.add(new RequestPart(this.key(), event));
    this.#requests.set(event.request, part);
  }

  #resolved(event: Resolved): void {
    this.#requests.get(event.request)?.resolve(event);
  }

  // The end

  #end(ending: NonNullable<RunView["ending"]>): void {
    this.ending = ending;
    for (const part of this.#tools.values()) {
      if (part.state !== "planned") continue;
      part.state = "never_started";
      part.touch();
    }
    for (const part of this.#agents.values()) {
      if (part.state === "going") part.end("ended");
    }
    this.touch();
  }

  #settle(event: Settled): void {
    this.#receipt = event;
    for (const [tool, fate] of Object.entries(event.tools ?? {})) {
      const part = this.#tools.get(tool);
      if (part === undefined) continue;
      part.fate = fate;
      part.touch();
    }
    this.touch();
  }
}
