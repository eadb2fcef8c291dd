"""
HTML pages of the learning side: a run, restored images, the demo.
Each is one self-contained file.
"""
