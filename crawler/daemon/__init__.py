"""The daemon: what one run is made of, how it is put together, and what signals do to it."""
