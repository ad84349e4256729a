"""Bytes to values and back: pure functions, no state, nothing of ours imported."""
