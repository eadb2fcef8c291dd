"""
`uir audit`: duplicates, near-duplicates, and training images that lie in a benchmark.
Hashes propose, pixels decide.
"""
