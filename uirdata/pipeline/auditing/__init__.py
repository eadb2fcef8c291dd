"""
`uir audit`: duplicates, near-duplicates, and training images that are also in a benchmark.
Hashes propose candidates; a comparison of the pixels decides.
"""
