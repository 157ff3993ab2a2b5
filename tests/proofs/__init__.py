"""Proofs: each claim of the project as a command with a seed that passes or fails (`python -m proofs`)."""
