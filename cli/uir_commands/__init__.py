"""The commands of `uir`, a file each."""
