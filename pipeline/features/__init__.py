"""Feature sets on disk: schema, store, manifest, fingerprint."""
