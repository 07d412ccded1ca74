"""Inheritable pytest classes: what each port promises, to be run against every back end.

They need pytest and pytest-asyncio in auto mode: the extra `testing`.
"""

import pkgutil

import pytest

# so that a failing sentence shows the values it compared
pytest.register_assert_rewrite(
    *(f"{__name__}.{each.name}" for each in pkgutil.iter_modules(__path__))
)
