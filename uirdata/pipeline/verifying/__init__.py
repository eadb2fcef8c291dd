"""
`uir verify`: checks of bytes, archives, pairs and pixels, with a remedy for each problem.
`verify` runs it.
"""
