"""
The configuration of a run: typed values, presets with their origin, TOML in and out.
It knows nothing of torch: a configuration is checked before anything is loaded.
"""
