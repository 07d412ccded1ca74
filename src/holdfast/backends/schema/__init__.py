"""The schema of the record database, defined once for every SQL back end; a module a subject.

Only migrations, their tests and `tools/generate_schema.py` import this package: at run time new
stores are created from `schema.sql`, which is generated from it.

Times are epoch seconds, UTC. `no` numbers a memory within the store and gives insertion order.
"""

from __future__ import annotations

from holdfast.backends.schema import audit, directory, erasures, ledger, quarantine, records
from holdfast.backends.schema.base import metadata

__all__ = ["audit", "directory", "erasures", "ledger", "metadata", "quarantine", "records"]
