"""The steps of the data pipeline: fetch, verify, build, audit, publish, report."""
