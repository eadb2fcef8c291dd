"""
Evaluation under named protocols: test sets, cases, scores, intervals, the paper's tables.
`evaluate.evaluate` runs a benchmark; `compare` tests two results in pairs.
"""
