"""What turns a complete study into a delivered report, and the ledger that remembers it."""
