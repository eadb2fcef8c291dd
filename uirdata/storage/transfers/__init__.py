"""What a download is made of: the partial file, the streams that fill it, its terms, and its receipt."""
