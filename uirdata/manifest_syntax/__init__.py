"""The syntax of manifests: file-name patterns, pairing rules, TOML read strictly into typed objects."""
