"""Do two images show the same? Perceptual hashes propose, aligned pixels decide."""
