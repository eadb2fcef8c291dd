"""
`uir stats --html` and `uir degradations --html`: pages of counts and of example images.
Counting itself is `uirdata.statistics`.
"""
