"""Where records leave the process."""
