"""What is guarded and refreshed: one table, one file for each subsystem or library, the import hook."""
