"""
The device of a run, its free memory, and the processes of a distributed run.
Also the memory that a network needs, estimated without running it.
"""
