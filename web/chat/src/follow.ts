/**
 * Where the reader is in the conversation.
 *
 * The one rule: at the end the page follows what is written; anywhere else it stays. Only a person scrolls up: a page
 * that grows leaves its place and is not at its end until it is drawn.
 */

import type { RefObject } from "preact";
import { useCallback, useLayoutEffect, useRef, useState } from "preact/hooks";
import { get, set } from "./stored.ts";

const END = 48;
const PLACE = "agent-ws.place";

export interface Following {
  readonly following: boolean;
  /** Go to the end, and stay there. */
  readonly follow: () => void;
  readonly onScroll: () => void;
}

/**
 * `drawn` changes with each drawing. `name`: of what is read, to find the place again after a reload, as soon as it is
 * `there`.
 */
export function useFollowing(
  scroller: RefObject<HTMLElement | null>,
  drawn: unknown,
  name: string | undefined,
  there: boolean,
): Following {
  const [following, setFollowing] = useState(true);
  const state = useRef({ following: true, top: 0 });
  const become = useCallback((now: boolean) => {
    state.current.following = now;
    setFollowing(now);
  }, []);
  const settle = useCallback(() => {
    const element = scroller.current;
    if (element && state.current.following) element.scrollTop = element.scrollHeight;
  }, [scroller]);

  useLayoutEffect(settle, [drawn, settle]);

  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(settle);
    observer.observe(element);
    // Who opens a detail wants to read it, not to be taken to the end.
    const toggled = () => {
      if (!atEnd(element)) become(false);
    };
    element.addEventListener("toggle", toggled, true);
    return () => {
      observer.disconnect();
      element.removeEventListener("toggle", toggled, true);
    };
  }, [scroller, settle, become]);

  useLayoutEffect(() => {
    if (name === undefined || !there) return undefined;
    const place = get<{ name: string; top: number }>("sessionStorage", PLACE);
    set("sessionStorage", PLACE, undefined);
    if (place?.name === name && scroller.current) {
      become(false);
      scroller.current.scrollTop = state.current.top = place.top;
    }
    const leave = () => {
      if (!state.current.following) set("sessionStorage", PLACE, { name, top: state.current.top });
    };
    addEventListener("pagehide", leave);
    return () => removeEventListener("pagehide", leave);
  }, [name, there, scroller, become]);

  const onScroll = useCallback(() => {
    const element = scroller.current;
    if (!element) return;
    const { scrollTop } = element;
    if (atEnd(element)) become(true);
    else if (scrollTop < state.current.top) become(false);
    state.current.top = scrollTop;
  }, [scroller, become]);

  const follow = useCallback(() => {
    become(true);
    settle();
  }, [become, settle]);

  return { following, follow, onScroll };
}

function atEnd({ scrollHeight, scrollTop, clientHeight }: HTMLElement): boolean {
  return scrollHeight - scrollTop - clientHeight < END;
}
