"""What the daemon shows of itself: its figures, for the log, for Prometheus and over HTTP."""
