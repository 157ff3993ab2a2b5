/** Text of an answer, and thinking. Lengths are in characters (Unicode code points), as everywhere on the wire. */

import type { TextView } from "agent-ws-client";
import { useRef } from "preact/hooks";
import { Markdown } from "../markdown/Markdown.tsx";
import { memo } from "../memo.ts";

const UNSEEN = "Written, but not shown when you stopped it. The agent does not remember it.";

export const Text = memo(({ text: { data, seen }, growing }: { text: TextView; growing: boolean }) => {
  const at = seen === null ? data.length : offset(data, seen);
  const rest = data.slice(at);
  return (
    <div class="content">
      <div class="text">
        <Markdown text={data.slice(0, at)} growing={growing} />
      </div>
      {rest && (
        <>
          <p class="cut">
            <span>cut here</span>
          </p>
          <div class="text unseen" title={UNSEEN}>
            <Markdown text={rest} growing={false} />
          </div>
        </>
      )}
    </div>
  );
});

/** Closed unless the person opens it, while it is written too: what it says is beside the point. */
export const Thinking = memo(({ text: { data }, growing }: { text: TextView; growing: boolean }) => {
  const began = useRef(performance.now());
  const took = useRef<number | null>(null);
  const wasGrowing = useRef(growing);
  if (wasGrowing.current && !growing) took.current = (performance.now() - began.current) / 1000;
  wasGrowing.current = growing;
  return (
    <details class="thinking" data-growing={growing}>
      <summary>
        {growing
          ? "Thinking…"
          : took.current !== null && took.current >= 1
            ? `Thought for ${Math.round(took.current)} s`
            : "Thinking"}
      </summary>
      <div class="text">{data}</div>
    </details>
  );
});

/** Where the `n`th character begins, for `slice`. */
function offset(text: string, n: number): number {
  let at = 0;
  let left = n;
  for (const point of text) {
    if (left-- <= 0) break;
    at += point.length;
  }
  return at;
}
