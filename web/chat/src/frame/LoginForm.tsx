/** Asks for a token where the server wants one. */

import type { TargetedSubmitEvent } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

export function LoginForm({ fault, enter }: { fault: string; enter: (token: string) => void }) {
  const field = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => field.current?.focus(), []);
  const submit = (event: TargetedSubmitEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const { current } = field;
    if (!current) return;
    const token = current.value.trim();
    current.value = "";
    current.focus();
    enter(token);
  };
  return (
    <form id="login" onSubmit={submit}>
      <label for="token">This server wants a login. Your token:</label>
      <input
        id="token"
        type="password"
        required
        autocomplete="off"
        spellcheck={false}
        aria-describedby="fault"
        ref={field}
      />
      <button type="submit" class="primary">
        Log in
      </button>
      <p id="fault" role="alert">
        {fault}
      </p>
    </form>
  );
}
