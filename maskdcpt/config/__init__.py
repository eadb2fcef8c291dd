"""
The configuration of a run: typed values, presets with their origin, TOML in and out.
It does not import torch: a configuration is checked before anything is loaded.
"""
