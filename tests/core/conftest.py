"""How much the property tests try: a machine that is busy must not fail them, and all of them take seconds."""

from hypothesis import settings

settings.register_profile("core", deadline=None, max_examples=60)
settings.load_profile("core")
