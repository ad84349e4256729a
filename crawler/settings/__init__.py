"""Settings, whatever they are of: what one is, where its value is read from, and how it is written out.

Which there are is said beside the code that obeys them, and `config` gathers them. Every package imports this
one, so it imports nothing of ours.
"""

from __future__ import annotations

from crawler.settings.meaning import Meaning, meaning_of, setting

__all__ = ["Meaning", "meaning_of", "setting"]
