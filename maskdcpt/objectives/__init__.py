"""What is learned: networks and a batch in, losses out. The loop adds everything else."""
