"""Configuration: what can be set, and where a setting comes from.

Four sources, each overruling the ones below it, setting by setting: arguments, environment
variables, one file (YAML or TOML), defaults. Holdfast's own and Mem0's configurations are read.
"""

from __future__ import annotations

from holdfast.config.backup import BackupSettings
from holdfast.config.cache import CacheSettings, RedisSettings
from holdfast.config.load import load_config
from holdfast.config.models import ChosenModel, chosen_embedder, chosen_models
from holdfast.config.parts import part_settings
from holdfast.config.prices import ModelPrice
from holdfast.config.server import ServerConfig
from holdfast.config.settings import (
    CACHE,
    INDEX,
    LOCAL_EMBEDDER,
    NO_KEYRING,
    NO_REDACTION,
    RECORDS,
    Config,
    Part,
    Resolved,
    redacted,
)

__all__ = [
    "CACHE",
    "INDEX",
    "LOCAL_EMBEDDER",
    "NO_KEYRING",
    "NO_REDACTION",
    "RECORDS",
    "BackupSettings",
    "CacheSettings",
    "ChosenModel",
    "Config",
    "ModelPrice",
    "Part",
    "RedisSettings",
    "Resolved",
    "ServerConfig",
    "chosen_embedder",
    "chosen_models",
    "load_config",
    "part_settings",
    "redacted",
]
