/** One call of a tool: a line that opens. */

import type { ToolView } from "agent-ws-client";
import { CopyButton } from "../markdown/Code.tsx";
import { memo } from "../memo.ts";
import { useSeconds } from "../now.ts";
import { FATES, pretty, seconds, TOOLS } from "../words.ts";

/** The line itself has no room for more. */
const BRIEF = 200;

export const Tool = memo(({ tool }: { tool: ToolView }) => {
  const { name, state, written, input, output } = tool;
  const whole = input === null ? written : pretty(input);
  const brief = (input === null || typeof input === "string" ? whole : JSON.stringify(input)).slice(0, BRIEF);
  return (
    <details class="tool" data-outcome={state}>
      <summary>
        <span class="name">{name}</span>
        <code class="brief">{brief}</code>
        <Fate tool={tool} />
      </summary>
      {whole && <Labelled label="Input" words={whole} />}
      {output && <Labelled label="Output" words={output} />}
      {!whole && !output && <p class="note empty">Nothing to show.</p>}
    </details>
  );
});

function Fate({ tool: { state, fate, ranAt, endedAt } }: { tool: ToolView }) {
  useSeconds(state === "running");
  const words = (fate !== null && FATES[fate]) || TOOLS[state];
  const end = endedAt ?? (state === "running" ? Date.now() / 1000 : null);
  const took = ranAt !== null && end !== null ? end - ranAt : 0;
  const shown = state === "running" ? took >= 1 : took >= 0.05 && fate !== "never_started";
  return (
    <span class="note">
      {words}
      {shown && ` · ${state === "running" ? `${Math.floor(took)} s` : seconds(took)}`}
    </span>
  );
}

function Labelled({ label, words }: { label: string; words: string }) {
  return (
    <figure>
      <figcaption>
        <span>{label}</span>
        <CopyButton what={() => words} />
      </figcaption>
      {/* It scrolls, so the keyboard has to reach it. */}
      <pre tabIndex={0}>{words}</pre>
    </figure>
  );
}
