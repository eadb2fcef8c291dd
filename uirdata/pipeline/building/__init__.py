"""
`uir build-shards`, `uir crop` and `uir rebuild`: sample plan, screening, degradation, shards.
The plan is fixed before any pixel is read, so that the number of workers and restarts do not change the bytes.
"""
