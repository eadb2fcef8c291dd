"""
Restoration of images: one array in memory (`restorer`), or many files (`files`).
The size of tiles depends on the free memory; alpha, EXIF and 16 bits are kept.
"""
