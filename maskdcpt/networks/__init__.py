"""
A backbone with its heads: the degradation classifier and the reconstruction decoder.
They know no files; `maskdcpt.weights` builds them from checkpoints.
"""
