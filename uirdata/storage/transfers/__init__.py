"""The parts of a download: the partial file, the streams that fill it, its settings, and its receipt."""
