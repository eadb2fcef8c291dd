"""
The training loop and all that it needs: learner, optimiser, EMA, run folder, validation, logs.
`loop.train` runs it from a configuration.
"""
