"""The command lines: they read arguments, call one library function, and show what came of it."""
