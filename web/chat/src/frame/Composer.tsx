/** Where the person writes, decides what becomes of it while an answer is written, and stops that. */

import type { RefObject, TargetedKeyboardEvent, TargetedSubmitEvent } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";
import type { Chat, WhenBusy } from "../chat.ts";
import { get, set } from "../stored.ts";
import { Icon } from "./Icon.tsx";

const DRAFT = "agent-ws.draft";
const POLICIES: readonly { value: WhenBusy; words: string; title: string }[] = [
  { value: "queue", words: "Queue", title: "It waits until this answer is finished" },
  { value: "interrupt", words: "Send now", title: "It stops this answer and is answered at once" },
  { value: "steer", words: "Steer", title: "It is handed to the agent, which goes on with this answer" },
];

interface Props {
  readonly chat: Chat;
  readonly busy: boolean;
  readonly stopping: boolean;
  readonly field: RefObject<HTMLTextAreaElement | null>;
  readonly sent: () => void;
}

export function Composer({ chat, busy, stopping, field, sent }: Props) {
  const [policy, setPolicy] = useState<WhenBusy>("queue");
  useLayoutEffect(() => {
    if (field.current) field.current.value = get("sessionStorage", DRAFT) ?? "";
    field.current?.focus();
  }, [field]);

  const submit = (event: TargetedSubmitEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const words = field.current;
    const text = words?.value.trim();
    if (words && text) {
      chat.say(text, policy);
      words.value = "";
      keep("");
      setPolicy("queue"); // the choice was for this message alone
      sent();
    }
    words?.focus();
  };
  const press = (event: TargetedKeyboardEvent<HTMLTextAreaElement>): void => {
    // Enter also ends the composing of a Japanese or Chinese word: that one sends nothing.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    event.currentTarget.form?.requestSubmit();
  };
  const words = (busy && POLICIES.find(({ value }) => value === policy)?.words) || "Send";
  return (
    <form id="composer" onSubmit={submit}>
      <label for="words" class="spoken">
        Your message
      </label>
      <textarea
        id="words"
        rows={1}
        placeholder={busy ? "What comes next?" : "Your message"}
        autocomplete="off"
        ref={field}
        onKeyDown={press}
        onInput={({ currentTarget }) => keep(currentTarget.value)}
      />
      <div class="buttons">
        {busy && (
          <button id="stop" type="button" disabled={stopping} aria-keyshortcuts="Escape" onClick={() => chat.stop()}>
            <Icon name="stop" /> Stop <kbd>Esc</kbd>
          </button>
        )}
        <button type="submit" id="send" class="primary">
          <Icon name="send" /> <span>{words}</span>
        </button>
      </div>
      {busy && (
        <fieldset id="policy">
          <legend>While it answers:</legend>
          {POLICIES.map(({ value, words, title }) => (
            <label key={value} title={title}>
              <input
                type="radio"
                name="policy"
                value={value}
                checked={policy === value}
                onChange={() => setPolicy(value)}
              />{" "}
              {words}
            </label>
          ))}
        </fieldset>
      )}
    </form>
  );
}

/** What is not sent yet survives a reload. */
export function keep(text: string): void {
  set("sessionStorage", DRAFT, text || undefined);
}
