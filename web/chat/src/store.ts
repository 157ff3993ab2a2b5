/** Something to show that changes by becoming another object, and how a component sees it. */

import { useLayoutEffect, useState } from "preact/hooks";

export abstract class Store<View> {
  readonly #listeners = new Set<() => void>();

  abstract get view(): View;

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  protected changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

export function useStore<View>(store: Store<View>): View {
  const [, redraw] = useState(0);
  useLayoutEffect(() => {
    const off = store.subscribe(() => redraw((n) => n + 1));
    redraw((n) => n + 1); // what changed before we listened
    return off;
  }, [store]);
  return store.view;
}
