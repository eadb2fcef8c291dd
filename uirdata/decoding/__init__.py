"""
Decoding of image files, for both packages: the one door through which pixels of files come in.

- `formats`: the formats that are read, told by their first bytes and never by the ending of a name.
- `octets`: the bytes of a file, in memory or on the disk.
- `pixels`: pixels of 8 and of 16 bits.
- `metadata`: orientation, colour profile, EXIF; what is damaged there is dropped with a remark.
- `directories`: the directories of TIFF files and EXIF blocks.
- `heif`: AVIF and HEIF, by Pillow and by an extra.
- `png`, `jpeg`, `webp`, `tiff`, `netpbm`: the files taken apart; a decoder receives only what describes pixels.
- `deep_tiff`: the pixels of TIFF files with more than 8 bits.
- `decoder`: the pixels, upright, RGB, with 8 or 16 bits.
"""

from uirdata.decoding.decoder import Decoded, TooLargeError, decode, revision, stored_size
from uirdata.decoding.formats import MOST_PIXELS
from uirdata.decoding.pixels import Pixels, to_eight_bits

__all__ = ["MOST_PIXELS", "Decoded", "Pixels", "TooLargeError", "decode", "revision", "stored_size", "to_eight_bits"]
