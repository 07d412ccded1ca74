"""Configuration: what can be set, and where a setting comes from.

Four sources, each overruling the ones below it, setting by setting: arguments, environment
variables, one file (YAML or TOML), defaults. Holdfast's own and Mem0's configurations are read.
"""

from __future__ import annotations

from holdfast.config.load import load_config
from holdfast.config.server import ServerConfig
from holdfast.config.settings import LOCAL_EMBEDDER, Config, Part, Resolved, redacted

__all__ = [
    "LOCAL_EMBEDDER",
    "Config",
    "Part",
    "Resolved",
    "ServerConfig",
    "load_config",
    "redacted",
]
