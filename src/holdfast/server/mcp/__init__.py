"""MCP: what agents can do, and the ways they come (HTTP, stdio)."""
