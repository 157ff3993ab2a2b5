/** What this conversation is called, what can be done with it, and the state of the connection. */

import type { State } from "agent-ws-client";
import type { TargetedSubmitEvent } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { memo } from "../memo.ts";
import { useSeconds } from "../now.ts";
import { connection } from "../words.ts";
import { Icon } from "./Icon.tsx";

export interface Actions {
  readonly menu: () => void;
  readonly begin: () => void;
  readonly rename: (title: string) => void;
  readonly save: (kind: "md" | "json") => void;
  readonly remove: () => void;
  readonly connect: () => void;
}

interface Props {
  readonly title: string;
  /** It has something in it. */
  readonly begun: boolean;
  readonly menu: boolean;
  readonly state: State;
  readonly actions: Actions;
}

export const Header = memo(({ title, begun, menu, state, actions }: Props) => {
  const [renaming, setRenaming] = useState(false);
  return (
    <header class="bar">
      <button
        type="button"
        class="round"
        aria-label="Conversations"
        aria-expanded={menu}
        aria-controls={menu ? "sidebar" : undefined}
        onClick={actions.menu}
      >
        <Icon name="menu" />
      </button>
      {renaming ? (
        <Rename
          title={title}
          done={(words) => {
            setRenaming(false);
            if (words !== null) actions.rename(words);
          }}
        />
      ) : (
        <h1>{title || "agent_ws"}</h1>
      )}
      {begun && !renaming && <More actions={actions} rename={() => setRenaming(true)} />}
      <Connection state={state} connect={actions.connect} />
      <button
        type="button"
        class="round"
        aria-label="New conversation"
        title="New conversation"
        onClick={actions.begin}
      >
        <Icon name="new" />
      </button>
    </header>
  );
});

function Rename({ title, done }: { title: string; done: (title: string | null) => void }) {
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.select(), []);
  const submit = (event: TargetedSubmitEvent<HTMLFormElement>): void => {
    event.preventDefault();
    done(field.current?.value ?? null);
  };
  return (
    <form class="rename" onSubmit={submit}>
      <input
        ref={field}
        aria-label="Title"
        defaultValue={title}
        maxLength={120}
        onBlur={() => done(null)}
        onKeyDown={(event) => {
          if (event.key !== "Escape") return;
          event.stopPropagation();
          done(null);
        }}
      />
    </form>
  );
}

function More({ actions, rename }: { actions: Actions; rename: () => void }) {
  const menu = useRef<HTMLDivElement>(null);
  const dialog = useRef<HTMLDialogElement>(null);
  const item = (words: string, act: () => void) => (
    <li>
      <button
        type="button"
        onClick={() => {
          menu.current?.hidePopover();
          act();
        }}
      >
        {words}
      </button>
    </li>
  );
  return (
    <>
      <button type="button" class="round" aria-label="This conversation" popovertarget="more">
        <Icon name="more" />
      </button>
      <div id="more" class="options" popover="auto" ref={menu}>
        <ul>
          {item("Rename", rename)}
          {item("Export as Markdown", () => actions.save("md"))}
          {item("Export as JSON", () => actions.save("json"))}
          {item("Delete…", () => dialog.current?.showModal())}
        </ul>
      </div>
      <dialog ref={dialog} aria-labelledby="sure">
        <h2 id="sure">Delete this conversation?</h2>
        <p>It is gone for good then, on every device. An answer that is going stops.</p>
        <div class="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>
            Keep it
          </button>
          <button
            type="button"
            class="danger"
            onClick={() => {
              dialog.current?.close();
              actions.remove();
            }}
          >
            Delete
          </button>
        </div>
      </dialog>
    </>
  );
}

function Connection({ state, connect }: { state: State; connect: () => void }) {
  const [online, setOnline] = useState(navigator.onLine);
  useSeconds(state.name === "waiting");
  useEffect(() => {
    const look = () => setOnline(navigator.onLine);
    addEventListener("online", look);
    addEventListener("offline", look);
    return () => {
      removeEventListener("online", look);
      removeEventListener("offline", look);
    };
  }, []);
  return (
    <p id="state" data-state={state.name}>
      <span id="state-text">{connection(state, performance.now(), online)}</span>
      {state.name === "waiting" && (
        <button type="button" class="quiet" onClick={connect}>
          Try now
        </button>
      )}
    </p>
  );
}
