"""Whether two images show the same scene: perceptual hashes find candidates, aligned pixels decide."""
