"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("zqueue", deadline=None, print_blob=True)
settings.load_profile("zqueue")
