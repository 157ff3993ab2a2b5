"""All proofs, the fast ones first."""

from . import autobahn, bombs, cancel, fuzz, interrupts, kill, malformed, resume, schedules, soak
from .proof import Proof

PROOFS: tuple[Proof, ...] = (
    interrupts.PROOF,
    schedules.PROOF,
    cancel.PROOF,
    fuzz.PROOF,
    resume.PROOF,
    malformed.PROOF,
    kill.PROOF,
    autobahn.PROOF,
    soak.PROOF,
    bombs.PROOF,
)
