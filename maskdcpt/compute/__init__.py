"""
Where a run computes: the device, its free memory, and the processes of a distributed run.
Also how much memory a network needs, found without computing it.
"""
