"""Peer wire as state machines: time and chance are arguments, no socket, no trio, no logger."""
