/** A component that is drawn anew only for other props. Props are data that never changes, so `===` tells. */

import { Component, type ComponentChild, type FunctionComponent, h } from "preact";

export function memo<Props extends object>(draw: (props: Props) => ComponentChild): FunctionComponent<Props> {
  class Memo extends Component<Props> {
    override shouldComponentUpdate(next: Props): boolean {
      const now = this.props as Readonly<Record<string, unknown>>;
      const then = next as Readonly<Record<string, unknown>>;
      for (const key of new Set([...Object.keys(now), ...Object.keys(then)])) if (now[key] !== then[key]) return true;
      return false;
    }

    override render(): ComponentChild {
      return h(draw as FunctionComponent<Props>, this.props);
    }
  }
  return Memo as unknown as FunctionComponent<Props>;
}
