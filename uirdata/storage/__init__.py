"""The only disk writers. Nothing here opens a socket."""
