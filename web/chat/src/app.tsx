/** The page: which conversation it shows, and what is around it. */

import type { RefObject } from "preact";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Announcer } from "./announce.ts";
import { Chat, type ChatView, type Known } from "./chat.ts";
import { Conversations, titled } from "./conversations.ts";
import { asJson, asMarkdown, download } from "./export.ts";
import { useFollowing } from "./follow.ts";
import { Composer, keep } from "./frame/Composer.tsx";
import { type Actions, Header } from "./frame/Header.tsx";
import { Icon } from "./frame/Icon.tsx";
import { LoginForm } from "./frame/LoginForm.tsx";
import { Sidebar } from "./frame/Sidebar.tsx";
import { Waiting, WaitingNote } from "./frame/Waiting.tsx";
import { Login } from "./login.ts";
import { Message } from "./run/Message.tsx";
import { Run } from "./run/Run.tsx";
import { useStore } from "./store.ts";
import { CLOSED } from "./words.ts";

const REFUSED = "This token is not valid, or not any more.";
/** From here on the conversations have a place beside the text. */
const WIDE = "(min-width: 64rem)";

const login = new Login();
const conversations = new Conversations(login);
const search = (words: string) => conversations.search(words);
const more = () => conversations.more();

function address(): string | undefined {
  return location.hash.slice(1) || undefined;
}

function open(known: Known): Chat {
  return new Chat(known, login, ({ session, token }) => {
    conversations.begin({ session, token });
    history.replaceState(null, "", `#${session}`);
  });
}

function first(): Chat {
  const session = address() ?? conversations.last?.session;
  if (session === undefined) return open({ session: undefined, token: undefined });
  history.replaceState(null, "", `#${session}`);
  return open({ session, token: conversations.token(session) });
}

export function App() {
  const [chat, setChat] = useState(first);
  const view = useStore(chat);
  const list = useStore(conversations);
  const field = useRef<HTMLTextAreaElement>(null);
  const focus = useCallback(() => field.current?.focus(), []);
  const [menu, setMenu] = useState(() => matchMedia(WIDE).matches);
  const announcer = useMemo(() => new Announcer(chat), [chat]);
  useEffect(() => () => announcer.close(), [announcer]);

  const change = useCallback((known: Known) => {
    setChat((before) => {
      before.close();
      return open(known);
    });
    field.current?.focus();
  }, []);
  const begin = useCallback(() => {
    edit(field.current, chat.unsent());
    history.pushState(null, "", location.pathname + location.search);
    change({ session: undefined, token: undefined });
  }, [chat, change]);

  useEffect(() => {
    const moved = () => {
      const session = address();
      if (session !== chat.known.session) change({ session, token: session && conversations.token(session) });
    };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, [chat, change]);

  const title = useListed(chat, view);
  const ask = useLogin(chat, view);

  useEffect(() => {
    const wide = matchMedia(WIDE);
    const changed = () => setMenu(wide.matches);
    wide.addEventListener("change", changed);
    return () => wide.removeEventListener("change", changed);
  }, []);
  const closeMenu = useCallback(() => {
    if (!matchMedia(WIDE).matches) setMenu(false);
  }, []);
  useEffect(() => {
    const press = (event: KeyboardEvent): void => {
      if (event.key !== "Escape" || event.isComposing || event.repeat) return;
      if (document.querySelector(":popover-open, dialog[open]")) return; // it is for that
      if (menu && !matchMedia(WIDE).matches) setMenu(false);
      else chat.stop();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, [chat, menu]);

  const actions = useMemo<Actions>(
    () => ({
      menu: () => setMenu((shown) => !shown),
      begin,
      rename: (words) => {
        if (chat.known.session) conversations.rename(chat.known.session, words);
      },
      save: (kind) => {
        const { runs, session } = chat.view;
        if (kind === "md") download(`${title}.md`, "text/markdown", asMarkdown(title, runs));
        else download(`${title}.json`, "application/json", asJson(title, session, chat.log));
      },
      remove: () => {
        const { session } = chat.known;
        begin(); // first: it is not to be shown how this one ends
        if (session) conversations.remove(session);
      },
      connect: () => chat.connect(),
    }),
    [chat, title, begin],
  );

  return (
    <div class="page" data-menu={menu}>
      {menu && <Sidebar list={list} session={view.session} search={search} more={more} onChoice={closeMenu} />}
      {menu && <button type="button" class="veil" tabIndex={-1} aria-label="Close the list" onClick={closeMenu} />}
      <Header title={title} begun={view.runs.length > 0} menu={menu} state={view.state} actions={actions} />
      <Conversation
        key={chat.key}
        chat={chat}
        view={view}
        field={field}
        focus={focus}
        begin={begin}
        ask={ask}
        fault={list.fault}
      />
      <News announcer={announcer} />
    </div>
  );
}

interface Props {
  readonly chat: Chat;
  readonly view: ChatView;
  readonly field: RefObject<HTMLTextAreaElement | null>;
  readonly focus: () => void;
  readonly begin: () => void;
  readonly ask: Ask | null;
  /** What could not be done with the list. */
  readonly fault: string;
}

function Conversation({ chat, view, field, focus, begin, ask, fault }: Props) {
  const scroller = useRef<HTMLElement>(null);
  const { following, follow, onScroll } = useFollowing(
    scroller,
    view,
    view.session,
    view.loaded || view.runs.length > 0,
  );
  const { runs, next, waiting, refused, busy, active, asked, loaded } = view;
  const put = useCallback(
    (text: string) => {
      edit(field.current, text);
      focus();
    },
    [field, focus],
  );
  const wasBusy = useRef(busy);
  useLayoutEffect(() => {
    // The Stop button goes: who pressed it goes on writing.
    if (wasBusy.current && !busy && (document.activeElement === document.body || document.activeElement === null))
      focus();
    wasBusy.current = busy;
  }, [busy, focus]);
  const last = runs.findLastIndex(({ startedAt }) => startedAt !== null);
  const stopping = active !== null && asked.has(`stop ${active.run}`);
  useLayoutEffect(() => {
    if (stopping) focus();
  }, [stopping, focus]);
  return (
    <>
      <main id="scroller" tabIndex={0} aria-label="Conversation" ref={scroller} onScroll={onScroll}>
        <div class="column">
          {loaded && runs.length === 0 && !next && waiting.length === 0 && <Empty />}
          <div id="log">
            {runs.map((run, i) => (
              <Run
                key={run.first}
                run={run}
                chat={chat}
                asked={run.phase === "ended" ? NOTHING : asked}
                last={i === last && !busy}
                goesOn={next?.continues === run.run}
                focus={focus}
              />
            ))}
          </div>
          {next && next.continues === undefined && (
            <div id="next">
              <Message data={next.data} faded={next.run === null}>
                {next.run === null && <WaitingNote message={next} chat={chat} edit={put} />}
              </Message>
            </div>
          )}
        </div>
      </main>
      <footer class="dock">
        <div class="column">
          {!following && (
            <button
              id="latest"
              type="button"
              aria-label="Latest"
              onClick={() => {
                follow();
                focus();
              }}
            >
              <Icon name="down" /> Latest
            </button>
          )}
          <Notice chat={chat} view={view} listed={fault} begin={begin} />
          <Waiting waiting={waiting} refused={refused} chat={chat} edit={put} />
          {ask ? (
            <LoginForm key={ask.key} fault={ask.fault} enter={ask.enter} />
          ) : (
            <Composer chat={chat} busy={busy} stopping={stopping} field={field} sent={follow} />
          )}
        </div>
      </footer>
    </>
  );
}

const NOTHING: ReadonlySet<string> = new Set();

function Empty() {
  return (
    <div id="empty">
      <p>Ask something.</p>
      <p class="note">
        The answer appears as it is written, and <kbd>Esc</kbd> stops it. Reload or lose the network: it goes on where
        it was.
      </p>
    </div>
  );
}

interface NoticeProps {
  readonly chat: Chat;
  readonly view: ChatView;
  readonly listed: string;
  readonly begin: () => void;
}

function Notice({ chat, view: { state, fault }, listed, begin }: NoticeProps) {
  const closed = state.name === "closed" && state.code !== 4401 ? state.code : null;
  const words = closed === null ? fault || listed : (CLOSED[closed] ?? `The server closed the connection (${closed}).`);
  return (
    <div id="notice" role="alert" hidden={!words}>
      {words && <p>{words}</p>}
      {closed !== null &&
        (closed === 4404 || closed === 4410 ? (
          <button type="button" onClick={begin}>
            New conversation
          </button>
        ) : (
          <button type="button" onClick={() => chat.connect()}>
            Try again
          </button>
        ))}
    </div>
  );
}

function News({ announcer }: { announcer: Announcer }) {
  const said = useStore(announcer);
  return (
    <div id="news" class="spoken" role="log" aria-live="polite" aria-relevant="additions" aria-label="News">
      {said.map(({ key, words }) => (
        <p key={key}>{words}</p>
      ))}
    </div>
  );
}

interface Ask {
  /** Another one each time that it is asked. */
  readonly key: number;
  readonly fault: string;
  readonly enter: (token: string) => void;
}

/** The login, where the server asks for one. */
function useLogin(chat: Chat, { state }: ChatView): Ask | null {
  const [ask, setAsk] = useState<{ key: number; fault: string } | null>(null);
  useLayoutEffect(() => {
    if (state.name === "closed" && state.code === 4401) {
      const fault = login.present ? REFUSED : "";
      login.forget();
      conversations.clear();
      setAsk((before) => ({ key: (before?.key ?? 0) + 1, fault }));
    } else if (state.name === "open" || state.name === "closed") setAsk(null);
  }, [state]);
  const enter = (token: string): void => {
    if (login.enter(token)) chat.connect();
    else setAsk((before) => ({ key: (before?.key ?? 0) + 1, fault: REFUSED }));
  };
  return ask && { ...ask, enter };
}

/** Keeps the list up to date with what happens here, and the window's title with what the conversation is called. */
function useListed(chat: Chat, { runs, next, waiting, busy, state }: ChatView): string {
  const { session } = chat.known;
  const open = state.name === "open";
  const deleted = state.name === "closed" && (state.code === 4404 || state.code === 4410);
  useEffect(() => conversations.connected(open), [open]);
  useEffect(() => {
    if (deleted && session !== undefined) conversations.gone(session);
  }, [deleted, session]);
  const messages = runs.flatMap((run) => run.messages);
  const unanswered = [next, ...waiting].filter((message) => message?.run === null).length;
  useEffect(() => {
    if (session !== undefined && messages.length > 0) conversations.said();
  }, [session, messages.length, unanswered, busy]);
  const title = (session && conversations.title(session)) ?? titled(messages[0]?.data ?? "");
  useEffect(() => {
    document.title = title ? `${title} · agent_ws` : "agent_ws";
  }, [title]);
  return title;
}

/** Put a text before what is being written. */
function edit(field: HTMLTextAreaElement | null, text: string): void {
  if (!field || !text) return;
  field.value = [text, field.value].filter(Boolean).join("\n\n");
  keep(field.value);
}
