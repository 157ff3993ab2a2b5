/**
 * The login: asks for a token where the server wants one, keeps it for this tab, and gets tickets for it.
 *
 * The one rule: the token leaves the page in a header only, and is forgotten when the server has refused it.
 */

const NAME = "agent-ws.login";
const REFUSED = "This token is not valid, or not any more.";

export class Login {
  #form;
  #field;
  #fault;
  /** In memory too: storage can be forbidden. */
  #token;

  /** `form` has a field `token` and an element for what was wrong; `enter()` is called when there is a token to try. */
  constructor(form, enter) {
    this.#form = form;
    this.#field = form.elements.token;
    this.#fault = form.querySelector("[role=alert]");
    try {
      this.#token = sessionStorage.getItem(NAME) ?? undefined;
    } catch {
      // nothing to be done
    }
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const token = this.#field.value.trim();
      if (!/^[\x21-\x7e]+$/.test(token)) return this.ask(REFUSED); // no header can hold it, so none let it in
      this.#keep(token);
      enter();
    });
  }

  /** A ticket for the next connection; undefined where there is no token to get one with. Throws `{code}`, a close code. */
  async ticket(signal) {
    if (this.#token === undefined) return undefined;
    const response = await fetch(new URL("api/agent/ticket", document.baseURI), {
      method: "POST",
      headers: { authorization: `Bearer ${this.#token}` },
      cache: "no-store",
      signal,
    });
    if (response.ok) return (await response.json()).ticket;
    if (response.status === 404) return undefined; // no login here, or none any more
    const code = [401, 403].includes(response.status) ? 4000 + response.status : 1006;
    throw Object.assign(new Error("no ticket"), { code });
  }

  /** Show the form. The token that is there, if there is one, was refused: it is forgotten. */
  ask(fault = this.#token === undefined ? "" : REFUSED) {
    this.#keep(undefined);
    this.#form.hidden = false;
    this.#field.value = "";
    this.#fault.textContent = fault;
    this.#field.focus();
  }

  /** It has worked. */
  done() {
    this.#form.hidden = true;
    this.#field.value = "";
    this.#fault.textContent = "";
  }

  #keep(token) {
    this.#token = token;
    try {
      if (token === undefined) sessionStorage.removeItem(NAME);
      else sessionStorage.setItem(NAME, token);
    } catch {
      // nothing to be done
    }
  }
}
