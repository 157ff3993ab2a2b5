/**
 * Answers that went on, each as one.
 *
 * The one rule: nothing is made anew that has not changed: the same runs give the same view, and a block of theirs is
 * the same object wherever nothing joined it.
 */

import { head, size } from "./text.js";
import type { Block, RunView, SectionView, TextView } from "./view.js";

/** One answer: `run` and all else is of its newest run, but for what was said and done, which is of all of them. */
export interface AnswerView extends RunView {
  /** The run that it began with: a name that stays. */
  readonly first: string;
}

/** Made of the run that is the key, and of `before`. */
const made = new WeakMap<RunView, { readonly before: AnswerView | undefined; readonly answer: AnswerView }>();

/** The runs in their order, those that went on with another joined to it, at its place. */
export function joined(runs: readonly RunView[]): readonly AnswerView[] {
  const answers = new Map<string, AnswerView>();
  const firsts = new Map<string, string>();
  for (const run of runs) {
    const first = firsts.get(run.continues ?? "") ?? run.run;
    const before = answers.get(first);
    // One that was taken back before it began has nothing to show: the answer can be continued as if it had not been.
    if (before !== undefined && run.phase === "ended" && run.startedAt === null) continue;
    firsts.set(run.run, first);
    answers.set(first, answerOf(run, before));
  }
  return [...answers.values()];
}

function answerOf(run: RunView, before: AnswerView | undefined): AnswerView {
  const known = made.get(run);
  if (known !== undefined && known.before === before) return known.answer;
  const answer =
    before === undefined
      ? { ...run, first: run.run }
      : {
          ...run,
          first: before.first,
          messages: [...before.messages, ...run.messages.slice(1)],
          blocks: flow(keptOf(before), run.blocks),
        };
  made.set(run, { before, answer });
  return answer;
}

/** What was seen of an answer that went on. */
const kept = new WeakMap<AnswerView, readonly Block[]>();

function keptOf(answer: AnswerView): readonly Block[] {
  let blocks = kept.get(answer);
  if (blocks === undefined) {
    blocks = answer.blocks.map(seen).filter(something);
    kept.set(answer, blocks);
  }
  return blocks;
}

function something(block: Block): boolean {
  if (block.kind === "text") return block.data !== "";
  return block.kind !== "outline" || block.sections.length > 0;
}

/** Whether there is anything of it: else it comes now, or not at all. */
function begun({ state, blocks }: SectionView): boolean {
  return state !== "planned" && (state !== "interrupted" || blocks.length > 0);
}

/** The blocks in their order, the text at the seam as one: the cut may be in a word. */
function flow(before: readonly Block[], behind: readonly Block[]): readonly Block[] {
  const last = before.at(-1);
  const at = behind.findIndex(({ kind }) => kind !== "thinking" && kind !== "status");
  const next = behind[at];
  if (last?.kind !== "text") return [...before, ...behind];
  // What it thinks before it goes on stands before the text that goes on, also while there is no more of that.
  const early = at < 0 ? behind : behind.slice(0, at);
  if (next !== undefined && (next.kind !== "text" || next.agent !== last.agent)) return [...before, ...behind];
  return [...before.slice(0, -1), ...early, grown(last, next), ...(at < 0 ? [] : behind.slice(at + 1))];
}

function grown(text: TextView, more: TextView | undefined): TextView {
  if (more === undefined) return text;
  const cut = more.seen === null ? null : size(text.data) + more.seen;
  return { ...text, data: text.data + more.data, seen: cut };
}

/** What was seen of a block, which is all that there is of it where the answer goes on. */
function seen(block: Block): Block {
  switch (block.kind) {
    case "text":
      return block.seen === null ? block : { ...block, data: head(block.data, block.seen), seen: null };
    case "section":
      return { ...block, redo: false, blocks: block.blocks.map(seen).filter(something) };
    case "agent":
      return { ...block, blocks: block.blocks.map(seen) };
    case "outline": {
      const sections = block.sections.map((section) => seen(section) as typeof section);
      return { ...block, sections: sections.filter(begun) };
    }
    default:
      return block;
  }
}
