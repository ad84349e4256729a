"""A simulated Mainline network on loopback, for trying things out, tests and benchmarks."""
