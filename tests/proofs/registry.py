"""All proofs, the fast ones first."""

from . import schedules
from .proof import Proof

PROOFS: tuple[Proof, ...] = (schedules.PROOF,)
