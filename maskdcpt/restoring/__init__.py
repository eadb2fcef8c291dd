"""
Images restored: one array in memory (`restorer`), or many files (`files`).
Tiles are chosen by free memory; alpha, EXIF and 16 bits are kept.
"""
