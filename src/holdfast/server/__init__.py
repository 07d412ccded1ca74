"""The HTTP server: Mem0's APIs, our own, MCP, health and metrics, over the public API only."""
