/** Messages that wait for their turn, and those that nobody took. */

import type { Chat, Refusal, Waiting as WaitingView } from "../chat.ts";
import { memo } from "../memo.ts";

const NOTES: Readonly<Record<string, string>> = { steer: "on its way to the agent", interrupt: "sending…" };

interface Props {
  readonly waiting: readonly WaitingView[];
  readonly refused: readonly Refusal[];
  readonly chat: Chat;
  /** Put a text back to where it can be changed. */
  readonly edit: (text: string) => void;
}

export const Waiting = memo(({ waiting, refused, chat, edit }: Props) => {
  if (waiting.length === 0 && refused.length === 0)
    return <section id="waiting" aria-label="Not answered yet" hidden />;
  return (
    <section id="waiting" aria-label="Not answered yet">
      {waiting.map((message) => (
        <div class="message" key={message.id}>
          <p class="words">{message.data}</p>
          <WaitingNote message={message} chat={chat} edit={edit} />
        </div>
      ))}
      {refused.map(({ id, data, why }) => (
        <div class="message failed" key={id}>
          <p class="words">{data}</p>
          <p class="note">
            {why}{" "}
            <button
              type="button"
              class="quiet"
              onClick={() => {
                chat.dismiss(id);
                edit(data);
              }}
            >
              Edit
            </button>
            <button type="button" class="quiet" onClick={() => chat.dismiss(id)}>
              Dismiss
            </button>
          </p>
        </div>
      ))}
    </section>
  );
});

interface NoteProps {
  readonly message: WaitingView;
  readonly chat: Chat;
  readonly edit: (text: string) => void;
}

export function WaitingNote({ message, chat, edit }: NoteProps) {
  const { data, run, when_busy, leaving } = message;
  const words = leaving ? "withdrawing…" : run !== null ? "waiting" : (NOTES[when_busy ?? ""] ?? "sending…");
  return (
    <p class="note">
      {words}{" "}
      <button
        type="button"
        class="quiet"
        disabled={leaving}
        onClick={() => {
          chat.withdraw(message);
          edit(data);
        }}
      >
        Edit
      </button>
      <button type="button" class="quiet" disabled={leaving} onClick={() => chat.withdraw(message)}>
        Withdraw
      </button>
    </p>
  );
}
