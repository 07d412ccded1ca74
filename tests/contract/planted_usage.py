"""Faults in the ledger and the budgets of the reference store, each time broken once."""

from __future__ import annotations

from msgspec.structs import replace

from holdfast.backends.memory.tables import change
from holdfast.model import Project
from holdfast.ports import HoldBudget, PutSpared, PutUsage, SettleBudget, UsageQuery, UsageSum
from tests.contract.planted_reads import Broken
from tests.contract.planted_writes import Faulty


class SumsNothingOfNobody(Broken):
    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        return [one for one in await super().usage(project, query) if one.calls]


class SumsAllProjects(Broken):
    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        return await super().usage(None, query)


class IgnoresWhere(Broken):
    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        return await super().usage(project, replace(query, where=()))


class SumsTheEndToo(Broken):
    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        return await super().usage(project, replace(query, before=query.before + 1))


class SumsBeforeTheBeginning(Broken):
    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        return await super().usage(project, replace(query, since=query.since - 1))


class TellsDaysOfTheEast(Faulty):
    def put_usage(self, op: PutUsage | PutSpared) -> None:
        super().put_usage(replace(op, at=op.at + 3_600 if op.at % 86_400 > 60 else op.at))


class MergesGroups(Broken):
    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        return [
            replace(one, group=tuple(value or "" for value in one.group))
            for one in await super().usage(project, query)
        ]


class ForgetsCosts(Faulty):
    def put_usage(self, op: PutUsage | PutSpared) -> None:
        super().put_usage(op if isinstance(op, PutSpared) else replace(op, cost=None))


class ForgetsWhatProvidersSaved(Faulty):
    def put_usage(self, op: PutUsage | PutSpared) -> None:
        super().put_usage(op if isinstance(op, PutSpared) else replace(op, saved_nano_usd=0))


class TakesSparedForCalls(Broken):
    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        found = await super().usage(project, query)
        return [replace(one, calls=one.calls + one.spared_calls) for one in found]


class ForgetsWhatWasSpared(Faulty):
    def put_usage(self, op: PutUsage | PutSpared) -> None:
        if not isinstance(op, PutSpared):
            super().put_usage(op)


class ForgetsWhoseKeyItWas(Faulty):
    def put_usage(self, op: PutUsage | PutSpared) -> None:
        super().put_usage(op if isinstance(op, PutSpared) else replace(op, key_id=None))


class HoldsWhatFits(Faulty):
    def hold(self, op: HoldBudget) -> list[int]:
        return [
            before
            for one in op.holds
            for before in super(HoldsWhatFits, self).hold(HoldBudget(holds=(one,)))
        ]


class HoldsOneTooMany(Faulty):
    def hold(self, op: HoldBudget) -> list[int]:
        holds = (replace(one, limit=one.limit and one.limit + 7) for one in op.holds)
        return super().hold(HoldBudget(holds=tuple(holds)))


class RefusesWhatOnlyWarns(Faulty):
    def hold(self, op: HoldBudget) -> list[int]:
        holds = (replace(one, limit=one.limit or 100) for one in op.holds)
        return super().hold(HoldBudget(holds=tuple(holds)))


class SettlesAtTheMost(Faulty):
    def settle(self, op: SettleBudget) -> None:
        super().settle(replace(op, spent=tuple(one.amount for one in op.holds)))


class RevivesBudgets(Faulty):
    def settle(self, op: SettleBudget) -> None:
        super().hold(HoldBudget(holds=tuple(replace(one, amount=0) for one in op.holds)))
        super().settle(op)


class SharesBudgets(Faulty):
    def hold(self, op: HoldBudget) -> list[int]:
        self.project = Project("one for all")
        return super().hold(op)


class HastensEverything(Broken):
    async def hasten(self, project: Project, error_code: str, at: float) -> int:
        every = {
            key: change(leased, job=change(leased.job, run_after=at))
            for key, leased in self.tables.jobs.items()
        }
        self.tables.jobs.update(every)
        return await super().hasten(project, error_code, at)
