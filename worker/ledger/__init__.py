"""The ledger of studies, jobs, deliveries and events: with the spool, the truth."""
