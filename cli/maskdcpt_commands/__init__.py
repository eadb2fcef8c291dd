"""The commands of `maskdcpt`, a file each."""
