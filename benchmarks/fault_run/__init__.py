"""The parts of the fault run: see `benchmarks.faults`."""
