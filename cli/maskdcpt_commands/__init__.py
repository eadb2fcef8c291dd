"""The commands of `maskdcpt`, one file for each."""
