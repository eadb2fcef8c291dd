"""
`uir push-hf`: shards, tables, data card and Croissant metadata on the Hugging Face Hub.
`push` runs it; licences decide what may be published.
"""
