"""What each guarded path costs: benchmarks/paths has one file a path, docs/performance.md what they showed."""
