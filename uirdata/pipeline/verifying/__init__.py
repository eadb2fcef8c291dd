"""
`uir verify`: bytes, archives, pairs and pixels checked, with a remedy for each problem.
`verify` runs it.
"""
