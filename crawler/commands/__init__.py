"""What a person asks once: one file a command, and beside them what all of these commands share."""
