"""Sinks: finished records written to shards that each format's own readers understand, one file each."""
