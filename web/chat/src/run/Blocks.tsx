/** What an agent did, in the order in which it is shown. */

import type { AgentView, Block, OutlineView, SectionView, StatusView } from "agent-ws-client";
import type { ComponentChild } from "preact";
import { useContext } from "preact/hooks";
import { asking, type Part } from "../chat.ts";
import { Title, titleWords } from "../markdown/Markdown.tsx";
import { memo } from "../memo.ts";
import { AGENTS, SECTIONS, STATES } from "../words.ts";
import { Context } from "./context.ts";
import { Message } from "./Message.tsx";
import { Request } from "./Request.tsx";
import { Text, Thinking } from "./Text.tsx";
import { Tool } from "./Tool.tsx";

export function Blocks({ blocks, growing }: { blocks: readonly Block[]; growing: boolean }) {
  return (
    <div class="flow">
      {columns(blocks).map((group, i, all) =>
        Array.isArray(group) ? (
          <div class="agents" key={`agents ${group[0]?.key}`}>
            {group.map((agent) => (
              <Agent key={agent.key} agent={agent} />
            ))}
          </div>
        ) : (
          <One key={group.key} block={group} growing={growing && i === all.length - 1} />
        ),
      )}
    </div>
  );
}

/** Agents that are neighbours stand side by side. */
function columns(blocks: readonly Block[]): (Exclude<Block, AgentView> | AgentView[])[] {
  const groups: (Exclude<Block, AgentView> | AgentView[])[] = [];
  for (const block of blocks) {
    const last = groups.at(-1);
    if (block.kind !== "agent") groups.push(block);
    else if (Array.isArray(last)) last.push(block);
    else groups.push([block]);
  }
  return groups;
}

const One = memo(({ block, growing }: { block: Exclude<Block, AgentView>; growing: boolean }): ComponentChild => {
  switch (block.kind) {
    case "text":
      return <Text text={block} growing={growing} />;
    case "thinking":
      return <Thinking text={block} growing={growing} />;
    case "tool":
      return <Tool tool={block} />;
    case "outline":
      return <Outline outline={block} />;
    case "section":
      return <Section section={block} early={false} />;
    case "request":
      return <Request request={block} />;
    case "message":
      return <Message data={block.data} at={block.at} note="read by the agent" />;
    case "status":
      return <News status={block} />;
    default:
      return block satisfies never;
  }
});

function News({ status: { state, detail, attempt, streamed } }: { status: StatusView }) {
  const count = attempt > 1 ? ` (attempt ${attempt})` : "";
  const whole = streamed ? "" : " (the answer comes in one piece)";
  return (
    <p class="status" data-state={state}>
      {STATES[state] ?? state}
      {count}
      {detail && `: ${detail}`}
      {whole}
    </p>
  );
}

/** A button that acts on a part of the run, once. */
function PartButton({ part, words, doing, name }: { part: Part; words: string; doing: string; name: string }) {
  const around = useContext(Context);
  if (!around?.going) return null;
  const asked = around.asked.has(asking(around.run, part));
  return (
    <button
      type="button"
      class="quiet part"
      aria-label={`${words} ${name}`}
      disabled={asked}
      onClick={() => around.chat.stopPart(around.run, part)}
    >
      {asked ? doing : words}
    </button>
  );
}

const Agent = memo(({ agent: { agent, state, detail, blocks } }: { agent: AgentView }) => (
  <section class="agent" aria-label={agent} data-state={state}>
    <header>
      <h3>{agent}</h3>
      <span class="note">{AGENTS[state]}</span>
      {state === "going" && <PartButton part={{ agent }} words="Stop" doing="Stopping…" name={agent} />}
    </header>
    <Blocks blocks={blocks} growing={state === "going"} />
    {detail && <p class="status">{detail}</p>}
  </section>
));

function Outline({ outline: { sections } }: { outline: OutlineView }) {
  /** Who can write one again can leave one out that has not begun. */
  const early = sections.some(({ redo }) => redo);
  const over = sections.filter(({ state }) => state !== "planned" && state !== "open").length;
  return (
    <div class="outline">
      <p class="note">
        {over} of {sections.length} sections
      </p>
      {sections.map((section) => (
        <Section key={section.key} section={section} early={early} />
      ))}
    </div>
  );
}

const Section = memo(({ section: view, early }: { section: SectionView; early: boolean }) => {
  const { section, title, state, redo, blocks } = view;
  const marked = title || section;
  const name = titleWords(marked);
  return (
    <section class="section" data-state={state} aria-label={name}>
      <header>
        <h3>
          <Title text={marked} />
        </h3>
        <span class="note">{SECTIONS[state]}</span>
        {(state === "open" || (early && state === "planned")) && (
          <PartButton part={{ section }} words="Skip" doing="Skipping…" name={name} />
        )}
        {redo && state !== "planned" && (
          <PartButton part={{ section, redo: true }} words="Redo" doing="Redoing…" name={name} />
        )}
      </header>
      <Blocks blocks={blocks} growing={state === "open"} />
    </section>
  );
});
