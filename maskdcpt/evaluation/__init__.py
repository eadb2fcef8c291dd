"""
Evaluation under named protocols: test sets, cases, scores, intervals, the paper's tables.
`evaluate.evaluate` scores a checkpoint; `compare` tests two results in pairs.
"""
