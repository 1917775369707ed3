"""Unit tests assert what is computed, never how fast: the machine may be busy."""

from hypothesis import settings

settings.register_profile("upright", deadline=None)
settings.load_profile("upright")
