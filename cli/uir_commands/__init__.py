"""The commands of `uir`, one file each."""
