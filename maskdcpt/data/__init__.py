"""
From shards to batches: sample order, crop windows, augmentation, loader processes.
The order is a function of the seed alone, for any number of workers and ranks.
"""
