"""
`uir build-shards`, `uir crop` and `uir rebuild`: sample plan, screening, degradation, shards.
The plan is fixed before a pixel is read, so workers and restarts change no byte.
"""
