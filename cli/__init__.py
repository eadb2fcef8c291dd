"""The command lines: they read arguments, call one library function, and print its result."""
