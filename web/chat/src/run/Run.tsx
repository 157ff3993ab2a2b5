/** One run: the message, what the agent does with it, the ending. */

import type { RunView } from "agent-ws-client";
import { useMemo } from "preact/hooks";
import type { Chat } from "../chat.ts";
import { memo } from "../memo.ts";
import { Blocks } from "./Blocks.tsx";
import { Context } from "./context.ts";
import { Ending } from "./Ending.tsx";
import { Message } from "./Message.tsx";

interface Props {
  readonly run: RunView;
  readonly chat: Chat;
  readonly asked: ReadonlySet<string>;
  /** Nothing comes after it, and nothing goes on. */
  readonly last: boolean;
  /** The rest of it was asked for. */
  readonly goesOn: boolean;
  readonly focus: () => void;
}

export const Run = memo(({ run: view, chat, asked, last, goesOn, focus }: Props) => {
  const { run, phase, messages, blocks } = view;
  const stopping = asked.has(`stop ${run}`);
  const going = phase === "going" && !stopping;
  const around = useMemo(() => ({ chat, run, going, asked, focus }), [chat, run, going, asked, focus]);
  const mine = messages.filter(({ steer }) => !steer);
  const steers = messages.filter(({ steer, taken }) => steer && !taken);
  return (
    <article class="run" data-phase={stopping ? "stopping" : (view.ending?.type ?? phase)} aria-busy={going}>
      {mine.map(({ key, data, at }) => (
        <Message key={key} data={data} at={at} />
      ))}
      <h2 class="spoken">Answer</h2>
      <Context.Provider value={around}>
        <Blocks blocks={blocks} growing={going} />
      </Context.Provider>
      {steers.map(({ key, data, at }) => (
        <Message
          key={key}
          data={data}
          at={at}
          faded={going}
          note={phase === "ended" ? "not read by the agent" : "waits until the agent reads it"}
        />
      ))}
      <Ending run={view} stopping={stopping} chat={chat} last={last} goesOn={goesOn} focus={focus} />
    </article>
  );
});
