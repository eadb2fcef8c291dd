"""
Studies of the method: the preliminary probe, timing, and the small reproduction.
Each prints a table and can write a page.
"""
