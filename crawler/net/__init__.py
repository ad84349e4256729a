"""The only sockets, and the only trio in the protocol stack."""
