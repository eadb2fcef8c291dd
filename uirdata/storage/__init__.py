"""All modules that write to the disk. Nothing here opens a network connection."""
