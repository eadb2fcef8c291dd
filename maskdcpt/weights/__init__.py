"""
Files of weights: load, save, detect, convert, download, export, publish with a model card.
`checkpoints.load_checkpoint` is the one reader for all of them.
"""
