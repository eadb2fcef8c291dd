"""
`uir fetch`: plan, download, use files from a folder of the user, unpack, list the pairs.
`fetch.fetch` runs it.
"""
