"""The contract of `ports.Records`, sentence by sentence."""

from __future__ import annotations

from holdfast.testing.contracts.records_budgets import BudgetContract
from holdfast.testing.contracts.records_end import (
    RemoveContract,
    ResetContract,
    SupersedeContract,
)
from holdfast.testing.contracts.records_life import (
    HandlesContract,
    LifeContract,
    ProjectContract,
)
from holdfast.testing.contracts.records_read import (
    EntityContract,
    FetchContract,
    PageContract,
    StatsContract,
)
from holdfast.testing.contracts.records_usage import UsageContract
from holdfast.testing.contracts.records_write import (
    CommitContract,
    EditContract,
    PutContract,
    PutJobContract,
)


class RecordsContract(
    CommitContract,
    PutContract,
    EditContract,
    PutJobContract,
    SupersedeContract,
    RemoveContract,
    ResetContract,
    FetchContract,
    PageContract,
    EntityContract,
    StatsContract,
    UsageContract,
    BudgetContract,
    LifeContract,
    HandlesContract,
    ProjectContract,
):
    """Inherit this, override the fixture `make`, and run it with pytest-asyncio in auto mode."""
