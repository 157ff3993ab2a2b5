/** The time, for what counts seconds. */

import { useEffect, useState } from "preact/hooks";

/** Draws anew once a second while `running`. */
export function useSeconds(running: boolean): void {
  const [, tick] = useState(0);
  useEffect(() => {
    if (!running) return undefined;
    const timer = setInterval(() => tick((n) => n + 1), 1_000);
    return () => clearInterval(timer);
  }, [running]);
}
