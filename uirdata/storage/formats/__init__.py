"""Archives as streams of members: zip, tar, 7z, RAR, parquet and MATLAB files; nothing is written here."""
