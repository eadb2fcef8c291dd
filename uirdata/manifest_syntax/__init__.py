"""How manifests are written: file-name patterns, pairing rules, TOML read strictly into typed objects."""
