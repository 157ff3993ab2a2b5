/** A block of code: its language, a button that copies it, and colours. */

import type { ComponentChild } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { memo } from "../memo.ts";

/** More than this is not coloured: it would take the page's breath away. */
const MOST = 30_000;
/** While it grows, only what is coloured in no time. */
const MOST_GROWING = 3_000;

type Highlight = typeof import("./highlight.ts").highlight;
let loaded: Highlight | undefined;

function useColours(language: string, code: string, most: number): ComponentChild[] | null {
  const [highlight, setHighlight] = useState(() => loaded);
  const wanted = language !== "" && code.length <= most;
  useEffect(() => {
    if (!wanted || highlight) return undefined;
    let here = true;
    import("./highlight.ts").then(
      (module) => {
        loaded = module.highlight;
        if (here) setHighlight(() => module.highlight);
      },
      () => {}, // no network: it is black on white, which is fine
    );
    return () => {
      here = false;
    };
  }, [wanted, highlight]);
  return wanted && highlight ? highlight(language, code) : null;
}

export function CopyButton({ what, words = "Copy" }: { what: () => string; words?: string }) {
  const [state, setState] = useState("");
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(what());
      setState("Copied");
    } catch {
      setState("Not allowed"); // a page that is not secure, or a person who said no
    }
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setState(""), 2_000);
  };
  return (
    <button type="button" class="quiet copy" onClick={copy} aria-live="polite">
      {state || words}
    </button>
  );
}

export const Code = memo(({ code, language, growing }: { code: string; language: string; growing: boolean }) => {
  const colours = useColours(language.toLowerCase(), code, growing ? MOST_GROWING : MOST);
  return (
    <figure class="code">
      <figcaption>
        <span>{language || "text"}</span>
        <CopyButton what={() => code} words="Copy code" />
      </figcaption>
      {/* It scrolls, so the keyboard has to reach it. */}
      <pre tabIndex={0}>
        <code>{colours ?? code}</code>
      </pre>
    </figure>
  );
});
