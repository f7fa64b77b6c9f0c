"""The per-host daemon: it owns the segments, the manifests and the leases."""
