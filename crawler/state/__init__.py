"""What survives a restart, on the disk: node ids, good nodes, the ledger and the infohashes seen."""
