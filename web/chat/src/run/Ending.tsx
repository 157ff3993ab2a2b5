/** How a run ended: in words, with what can be done now, and the receipt on request. */

import type { RunView, Settled } from "agent-ws-client";
import type { Chat } from "../chat.ts";
import { CopyButton } from "../markdown/Code.tsx";
import { ending as endingWords, LOST, seconds, TASKS } from "../words.ts";

interface Props {
  readonly run: RunView;
  readonly stopping: boolean;
  readonly chat: Chat;
  readonly last: boolean;
  readonly goesOn: boolean;
  readonly focus: () => void;
}

export function Ending({ run, stopping, chat, last, goesOn, focus }: Props) {
  const { phase, ending, receipt, startedAt, messages } = run;
  if (stopping || goesOn)
    return (
      <footer class="ending">
        <p class="note">{stopping ? "Stopping…" : "Going on…"}</p>
      </footer>
    );
  if (ending === null || phase !== "ended") return <footer class="ending" />;
  const begun = startedAt !== null;
  const written = run.chars > 0 || run.continues !== null;
  const again = messages.find(({ steer }) => !steer)?.data;
  return (
    <footer class="ending">
      {ending.type === "interrupted" && <p class="note stopped">{endingWords(run)}</p>}
      {ending.type === "done" && ending.streamed === false && <p class="note">A part of it came in one piece</p>}
      {ending.type === "error" && (
        <p class="error">
          {ending.code === "lost" ? LOST : ending.message || "The answer failed."} <code>{ending.code}</code>
        </p>
      )}
      {last && begun && ending.type === "interrupted" && (
        <button
          type="button"
          class="quiet"
          title="It goes on from the text that is kept"
          onClick={() => {
            focus(); // the button goes
            chat.goOn(run.run);
          }}
        >
          Continue
        </button>
      )}
      {last && ending.type === "error" && again !== undefined && (
        <button type="button" class="quiet" onClick={() => chat.say(again, undefined)}>
          Try again
        </button>
      )}
      {written && <CopyButton what={() => chat.answer(run.run)} words="Copy answer" />}
      {receipt && <Receipt run={run} receipt={receipt} />}
    </footer>
  );
}

function Receipt({ run: { ending, startedAt }, receipt }: { run: RunView; receipt: Settled }) {
  const rows: [string, string][] = [["The agent", TASKS[receipt.task]]];
  if (ending?.type === "interrupted") rows.push(["Time to stop", `${receipt.stop_ms} ms`]);
  if (typeof receipt.upstream_closed === "boolean")
    rows.push(["Provider", receipt.upstream_closed ? "connection closed" : "still connected"]);
  rows.push(["Written", `${receipt.chars ?? 0} characters, in ${receipt.chunks ?? 0} steps`]);
  if (typeof receipt.seen === "number") rows.push(["Seen", `${receipt.seen} characters`]);
  if (receipt.usage)
    rows.push(["Tokens", `${receipt.usage.input_tokens ?? 0} in, ${receipt.usage.output_tokens ?? 0} out`]);
  const took = ending !== null && startedAt !== null ? ending.at - startedAt : 0;
  return (
    <details class="receipt">
      <summary>{took >= 0.05 ? `Took ${seconds(took)}` : "Details"}</summary>
      <dl>
        {rows.map(([term, words]) => (
          <>
            <dt>{term}</dt>
            <dd>{words}</dd>
          </>
        ))}
      </dl>
    </details>
  );
}
