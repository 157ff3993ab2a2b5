/** The agent asks the person. Any tab may answer; the first answer counts. */

import type { RequestView } from "agent-ws-client";
import type { TargetedSubmitEvent } from "preact";
import { useContext, useLayoutEffect, useRef } from "preact/hooks";
import { memo } from "../memo.ts";
import { pretty } from "../words.ts";
import { Context } from "./context.ts";

export const Request = memo(({ request: view }: { request: RequestView }) => {
  const { request, asks, prompt, data, state, answer } = view;
  const around = useContext(Context);
  const form = useRef<HTMLFormElement>(null);
  const open = state === "open" && (around?.going ?? false);
  const answered = around?.asked.has(`reply ${request}`) ?? false;

  // What is answered can't keep the focus: it goes back to where the person writes.
  const focused = useRef(false);
  focused.current ||= form.current?.contains(document.activeElement) ?? false;
  useLayoutEffect(() => {
    if (!open && focused.current) around?.focus();
    focused.current = false;
  }, [open, around]);

  const reply = (given: unknown): void => {
    around?.focus();
    around?.chat.reply(request, given);
  };
  const submit = (event: TargetedSubmitEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const text = new FormData(event.currentTarget).get("answer");
    if (typeof text === "string" && text.trim()) reply({ text });
  };
  const said = (answer as { text?: unknown } | null)?.text;
  return (
    <form class="request" data-outcome={state === "open" ? undefined : state} onSubmit={submit} ref={form}>
      <fieldset disabled={!open || answered}>
        <legend>{prompt || "The agent asks"}</legend>
        {data !== null && <pre tabIndex={0}>{pretty(data)}</pre>}
        {asks === "approval" ? (
          open && (
            <div class="buttons">
              <button type="button" class="primary" onClick={() => reply({ approved: true })}>
                Approve
              </button>
              <button type="button" onClick={() => reply({ approved: false })}>
                Refuse
              </button>
            </div>
          )
        ) : (
          <div class="buttons">
            <input
              type="text"
              name="answer"
              aria-label={prompt || "Your answer"}
              autocomplete="off"
              {...(typeof said === "string" && { value: said })}
            />
            {open && <button type="submit">Answer</button>}
          </div>
        )}
      </fieldset>
      <p class="note">{outcome(view, open)}</p>
    </form>
  );
});

function outcome({ state, answer, expires }: RequestView, open: boolean): string {
  switch (state) {
    case "expired":
      return "Nobody answered in time";
    case "cancelled":
      return "No longer asked";
    case "replied": {
      const { approved, text } = (answer ?? {}) as { approved?: unknown; text?: unknown };
      if (typeof approved === "boolean") return approved ? "Approved" : "Refused";
      return `Answered: ${typeof text === "string" ? text : pretty(answer)}`;
    }
    case "open": {
      if (!open || !expires) return "";
      return `Open until ${new Date(expires * 1000).toLocaleTimeString([], { timeStyle: "short" })}`;
    }
    default:
      return state satisfies never;
  }
}
