"""The verbs: fetch, verify, crop, build, report."""
