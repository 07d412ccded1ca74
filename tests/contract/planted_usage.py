"""Faults in the ledger of the reference store, each time broken once."""

from __future__ import annotations

from msgspec.structs import replace

from holdfast.model import Project
from holdfast.ports import PutUsage, UsageQuery, UsageSum
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
    def put_usage(self, op: PutUsage) -> None:
        super().put_usage(replace(op, at=op.at + 3_600 if op.at % 86_400 > 60 else op.at))


class MergesGroups(Broken):
    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        return [
            replace(one, group=tuple(value or "" for value in one.group))
            for one in await super().usage(project, query)
        ]


class ForgetsCosts(Faulty):
    def put_usage(self, op: PutUsage) -> None:
        super().put_usage(replace(op, cost=None))


class ForgetsWhoseKeyItWas(Faulty):
    def put_usage(self, op: PutUsage) -> None:
        super().put_usage(replace(op, key_id=None))
