"""Facts about the published sources: overlaps with benchmarks, the paper's table, a user's own folders."""
