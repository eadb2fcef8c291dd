"""
A backbone with its heads: the degradation classifier and the reconstruction decoder.
Nothing here reads or writes files; `maskdcpt.weights` builds networks from checkpoints.
"""
