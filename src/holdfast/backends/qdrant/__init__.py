"""An index in Qdrant: a server, its cloud, a cluster, or qdrant-client's local mode."""
