/**
 * The parts of a run, each a mutable form of its view in `view.ts`.
 *
 * The one rule: whoever changes a field calls `touch`. What an event means is not known here, but in `fold.ts`.
 */

import type { Request, Resolved, SectionStart, Status, User } from "./frames.js";
import { Part } from "./part.js";
import { size, withoutTail } from "./text.js";
import type {
  AgentView,
  Block,
  Fate,
  MessageView,
  OutlineView,
  RequestView,
  SectionView,
  StatusView,
  TextView,
  ToolView,
} from "./view.js";

/** Blocks in the order in which they are shown. */
export class Flow {
  readonly parts: Part<Block>[] = [];
  /** Sections that are open in it, the innermost last. */
  readonly open: SectionPart[] = [];

  constructor(readonly owner: Part<unknown>) {}

  /** Where that is shown which names no section but comes inside one. */
  get inner(): Flow {
    return this.open.at(-1)?.flow ?? this;
  }

  add<P extends Part<Block>>(part: P): P {
    part.parent = this.owner;
    this.parts.push(part);
    this.owner.touch();
    return part;
  }

  remove(part: Part<Block>): void {
    const at = this.parts.indexOf(part);
    if (at < 0) return;
    this.parts.splice(at, 1);
    this.owner.touch();
  }

  views(): Block[] {
    return this.parts.filter((part) => !(part instanceof TextPart && part.data === "")).map((part) => part.view);
  }
}

export class TextPart extends Part<TextView> {
  data = "";
  seen: number | null = null;

  constructor(
    readonly key: number,
    readonly kind: "text" | "thinking",
    readonly agent: string | null,
  ) {
    super();
  }

  append(data: string): void {
    const shown = this.data !== "";
    this.data += data;
    if (shown) this.touch();
    else this.parent?.touch(); // an empty one is in no view that would tell its parent
  }

  takeBack(chars: number): void {
    if (chars === 0) return;
    this.touch();
    this.data = withoutTail(this.data, chars);
  }

  clear(): void {
    this.takeBack(size(this.data));
  }

  see(chars: number | null): void {
    if (chars === this.seen) return;
    this.touch();
    this.seen = chars;
  }

  protected make(): TextView {
    const { kind, key, agent, data, seen } = this;
    return { kind, key, agent, data, seen };
  }
}

export class ToolPart extends Part<ToolView> {
  state: ToolView["state"] = "planned";
  written = "";
  input: unknown = null;
  output = "";
  startedAt: number | null = null;
  ranAt: number | null = null;
  endedAt: number | null = null;
  fate: Fate | null = null;

  constructor(
    readonly key: number,
    readonly tool: string,
    readonly name: string,
    readonly flow: Flow,
  ) {
    super();
  }

  protected make(): ToolView {
    const { key, tool, name, state, written, input, output, startedAt, ranAt, endedAt, fate } = this;
    return { kind: "tool", key, tool, name, state, written, input, output, startedAt, ranAt, endedAt, fate };
  }
}

export class OutlinePart extends Part<OutlineView> {
  readonly sections: SectionPart[] = [];

  constructor(readonly key: number) {
    super();
  }

  add(section: SectionPart): void {
    section.parent = this;
    this.sections.push(section);
    this.touch();
  }

  protected make(): OutlineView {
    return { kind: "outline", key: this.key, sections: this.sections.map((section) => section.view) };
  }
}

export class SectionPart extends Part<SectionView> {
  state: SectionView["state"] = "planned";
  redo = false;
  agent: string | null = null;
  readonly flow: Flow = new Flow(this);
  /** Where it counts as open. */
  outer: Flow | null = null;

  constructor(
    readonly key: number,
    readonly section: string,
    public title: string,
  ) {
    super();
  }

  start({ title, redo, agent }: SectionStart, outer: Flow): void {
    this.title = title || this.title;
    this.redo = redo ?? false;
    this.agent = agent ?? null;
    this.state = "open";
    this.outer = outer;
    outer.open.push(this);
    this.touch();
  }

  end(state: SectionView["state"]): void {
    const open = this.outer?.open ?? [];
    const at = open.indexOf(this);
    if (at >= 0) open.splice(at, 1);
    this.state = state;
    this.touch();
  }

  protected make(): SectionView {
    const { key, section, title, agent, state, redo } = this;
    return { kind: "section", key, section, title, agent, state, redo, blocks: this.flow.views() };
  }
}

export class AgentPart extends Part<AgentView> {
  state: AgentView["state"] = "going";
  detail = "";
  readonly flow: Flow = new Flow(this);

  constructor(
    readonly key: number,
    readonly agent: string,
  ) {
    super();
  }

  end(state: AgentView["state"], detail = ""): void {
    this.state = state;
    this.detail = detail;
    this.touch();
  }

  protected make(): AgentView {
    const { key, agent, state, detail } = this;
    return { kind: "agent", key, agent, state, detail, blocks: this.flow.views() };
  }
}

export class RequestPart extends Part<RequestView> {
  #resolved: Resolved | null = null;

  constructor(
    readonly key: number,
    readonly event: Request,
  ) {
    super();
  }

  resolve(event: Resolved): void {
    this.#resolved = event;
    this.touch();
  }

  protected make(): RequestView {
    const { request, agent, kind, prompt, tool, data, at, expires } = this.event;
    return {
      kind: "request",
      key: this.key,
      request,
      agent: agent ?? null,
      asks: kind,
      prompt: prompt ?? "",
      tool: tool ?? null,
      data: data ?? null,
      at,
      expires: expires ?? 0,
      state: this.#resolved?.outcome ?? "open",
      answer: this.#resolved?.data ?? null,
    };
  }
}

export class StatusPart extends Part<StatusView> {
  constructor(
    readonly key: number,
    readonly event: Status,
  ) {
    super();
  }

  protected make(): StatusView {
    const { agent, state, detail, attempt, streamed } = this.event;
    return {
      kind: "status",
      key: this.key,
      agent: agent ?? null,
      state,
      detail: detail ?? "",
      attempt: attempt ?? 0,
      streamed: streamed ?? true,
    };
  }
}

export class MessagePart extends Part<MessageView> {
  taken: boolean;

  constructor(
    readonly key: number,
    readonly event: User,
  ) {
    super();
    this.taken = !(event.steer ?? false);
  }

  protected make(): MessageView {
    const { id, data, at, steer } = this.event;
    return { kind: "message", key: this.key, id, data, at, steer: steer ?? false, taken: this.taken };
  }
}
