"""What a provider's refusal means, in our own words.

The one rule: nothing that the provider said gets into it. Its text may quote the conversation, a proxy's the key.
"""

import re
from collections.abc import Iterable

from ..errors import RunError

LATE = "The provider did not answer in time: try again later."
TOO_LONG = "The conversation is too long for the provider: begin a new one."
SERVER = 500


def refusal(
    status: int, said: str, *, model: str, prefix: str, parameters: Iterable[str], wait: float | None
) -> RunError:
    """A `RunError` for a request that was refused with this HTTP status.

    said: the provider's text, of which only the names of our own `parameters` are told. prefix: of the environment's
    variables that are to be checked. wait: seconds that the provider asked to wait.
    """
    code, retry = "provider_error", status in (408, 409, 425, 429) or status >= SERVER
    match status:
        case 401:
            message = f"The API key was refused: check {prefix}_API_KEY."
        case 402:
            message = "The provider's account can't pay for this: check its billing."
        case 403:
            message = f"The API key may not use {model}: check its permissions."
        case 404:
            message = f"The provider does not know {model}: check AGENT_WS_MODEL and {prefix}_BASE_URL."
        case 408 | 504:
            code, message = "provider_timeout", LATE
        case 413:
            message = TOO_LONG
        case 429:
            when = "later" if wait is None else f"in {wait:g} s"
            message = f"The provider takes no more requests from this API key for now: try again {when}."
        case 529:
            message = "The model is overloaded: try again later."
        case _ if status >= SERVER:
            message = f"The provider failed (status {status}): try again later."
        case _:
            message = f"The provider refused the request (status {status})."
            # Which of our own parameters it speaks of is safe to say, and mostly all that is needed.
            if named := [name for name in parameters if re.search(rf"\b{name}\b", said)]:
                message += f" It names: {', '.join(named)}."
    return RunError(message, code=code, retry=retry, wait=wait)
