"""Running a deployment: `AsyncAdmin`, and a module for each subject that it looks after."""

from holdfast.admin.deployment import AsyncAdmin

__all__ = ["AsyncAdmin"]
