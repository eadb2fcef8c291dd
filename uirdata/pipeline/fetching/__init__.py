"""
`uir fetch`: plan, download, take files from a folder of the user, unpack, list the pairs.
`fetch.fetch_sources` runs it.
"""
