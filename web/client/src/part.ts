/**
 * A part of what is shown, while it changes.
 *
 * The one rule: a part keeps the view that it made until it or something in it is touched. So a burst of a thousand
 * events costs one new view, and that only of what they changed.
 */

export abstract class Part<View> {
  /** Where it is shown; null: nowhere. */
  parent: Part<unknown> | null = null;
  #view: View | undefined;

  protected abstract make(): View;

  get view(): View {
    this.#view ??= this.make();
    return this.#view;
  }

  /** It has changed. Whatever holds it has, too, unless that has no view that could be old. */
  touch(): void {
    if (this.#view === undefined) return;
    this.#view = undefined;
    this.parent?.touch();
  }
}
