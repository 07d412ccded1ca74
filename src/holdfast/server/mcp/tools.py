"""What agents can do over MCP: the tools of Mem0's MCP server, by name, and what each carries out.

Nothing here knows the protocol (`mcp.server` does): a tool is its description, its schema and a
function of a memory and the arguments. Agents read the descriptions; they are the manual.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.client import AsyncMemory
from holdfast.errors import NotFoundError, ValidationError
from holdfast.remote.client import AsyncClient
from holdfast.server.mcp import schemas
from holdfast.server.mcp.texts import event_line, found, listed, memory_line, remembered

Face = AsyncMemory | AsyncClient
Arguments = dict[str, Any]

IDS = ("user_id", "agent_id", "app_id", "run_id")


@dataclass(frozen=True)
class Outcome:
    """What a tool answers: as data, and as text to read."""

    data: dict[str, Any]
    text: str


@dataclass(frozen=True)
class Tool:
    """One tool."""

    name: str
    title: str
    operation: str
    """What it does in the words of `core.access`."""
    description: str
    arguments: Mapping[str, Any]
    """The JSON schema of each argument."""
    carry_out: Callable[[Face, Arguments], Awaitable[Outcome]]
    required: tuple[str, ...] = ()
    reads_only: bool = True
    destroys: bool = False
    repeatable: bool = True
    """Whether a second call with the same arguments changes nothing more."""
    fills_user: bool = True
    """Whether it means the default user where no user is named."""
    answers: Mapping[str, Any] = field(default_factory=lambda: schemas.ANYTHING)
    """The JSON schema of what it answers."""

    def input_schema(self) -> dict[str, Any]:
        """The JSON schema of all arguments together."""
        schema: dict[str, Any] = {
            "type": "object",
            "properties": dict(self.arguments),
            "additionalProperties": False,
        }
        return {**schema, "required": list(self.required)} if self.required else schema


async def call(tool: Tool, face: Face, arguments: Mapping[str, Any]) -> Outcome:
    """Carry out a tool. Raises HoldfastError."""
    unknown = [name for name in arguments if name not in tool.arguments]
    if unknown:
        raise ValidationError(
            f"{tool.name} has no such argument as one of those given.",
            hint=f"It has: {', '.join(tool.arguments) or 'none'}.",
        )
    missing = [name for name in tool.required if arguments.get(name) is None]
    if missing:
        raise ValidationError(f"{tool.name} needs {', '.join(missing)}.", hint="Give it.")
    return await tool.carry_out(face, dict(arguments))


def with_user(tool: Tool, given: Mapping[str, Any], user: str | None) -> dict[str, Any]:
    """The arguments, without those left empty; `user` is meant where none is named."""
    arguments = {name: value for name, value in given.items() if value is not None}
    asks = user is not None and tool.fills_user and "user_id" in tool.arguments
    if asks and "user_id" not in arguments and not names_user(arguments.get("filters")):
        arguments["user_id"] = user
    return arguments


def names_user(filters: Any) -> bool:
    """Whether a filter speaks of users anywhere."""
    if isinstance(filters, Mapping):
        return "user_id" in filters or any(map(names_user, filters.values()))
    return isinstance(filters, list) and any(map(names_user, filters))


def _filters(arguments: Arguments) -> dict[str, Any]:
    """Ids and filter together, in the form that search takes; the ids are taken out."""
    ids = {name: arguments.pop(name) for name in IDS if name in arguments}
    filters = arguments.pop("filters", None)
    if not filters:
        return ids
    if isinstance(filters, Mapping) and ids.keys().isdisjoint(filters):
        return {**ids, **filters}
    return {"AND": [ids, filters]} if ids else filters


async def _add(face: Face, arguments: Arguments) -> Outcome:
    text = arguments.pop("text", None)
    messages = arguments.pop("messages", None)
    if (text is None) == (messages is None):
        raise ValidationError(
            "Give either text or messages.", hint="text is one fact, messages a conversation."
        )
    answer = await face.add(text if messages is None else messages, **arguments)
    return Outcome(answer, remembered(answer))


async def _search(face: Face, arguments: Arguments) -> Outcome:
    filters = _filters(arguments)
    answer = await face.search(**{"top_k": 10, **arguments}, filters=filters)
    return Outcome(answer, found(answer))


async def _get_all(face: Face, arguments: Arguments) -> Outcome:
    filters = _filters(arguments)
    size = arguments.pop("page_size", 20)
    answer = await face.get_all(filters=filters, top_k=size, **arguments)
    return Outcome(answer, listed(answer))


async def _get(face: Face, arguments: Arguments) -> Outcome:
    memory = await face.get(**arguments)
    if memory is None:
        raise NotFoundError(
            "There is no memory with this id.", hint="search_memories tells the ids of memories."
        )
    return Outcome(memory, memory_line(memory))


async def _update(face: Face, arguments: Arguments) -> Outcome:
    answer = await face.update(**arguments)
    return Outcome(answer, answer["message"])


async def _delete(face: Face, arguments: Arguments) -> Outcome:
    answer = await face.delete(**arguments)
    return Outcome(answer, answer["message"])


async def _delete_all(face: Face, arguments: Arguments) -> Outcome:
    answer = await face.delete_all(**arguments)
    return Outcome(answer, f"Deleted {answer['count']} memories.")


async def _delete_entity(face: Face, arguments: Arguments) -> Outcome:
    if len(arguments) != 1:
        raise ValidationError(
            "Name exactly one user, agent, app or run.",
            hint="delete_all_memories deletes what several have in common.",
        )
    return await _delete_all(face, arguments)


async def _entities(face: Face, arguments: Arguments) -> Outcome:
    answer = await face.entities(**arguments)
    lines = [
        f"{one['type']} {one['name']}: {one['total_memories']} memories"
        for one in answer["results"]
    ]
    return Outcome(answer, "\n".join(lines) or "Nobody has memories yet.")


async def _events(face: Face, arguments: Arguments) -> Outcome:
    answer = await face.events(**{"page_size": 20, **arguments})
    return Outcome(answer, "\n".join(map(event_line, answer["results"])) or "No events.")


async def _event(face: Face, arguments: Arguments) -> Outcome:
    event = await face.event(**arguments)
    return Outcome(event, event_line(event))


_MEMORY = {"memory_id": schemas.MEMORY_ID}

TOOLS: tuple[Tool, ...] = (
    Tool(
        name="add_memory",
        title="Remember",
        operation="add",
        description=(
            "Remember something for later conversations. Call it whenever the user tells something"
            " that will matter again: preferences, facts about people, decisions, plans, dates,"
            " corrections of what was said before, or whatever the user asks you to remember. Give"
            " `text` as one self-contained sentence that names people and dates instead of 'he' or"
            " 'tomorrow', or `messages` to keep a stretch of conversation. Answers with the id of"
            " every memory made."
        ),
        arguments={
            "text": schemas.TEXT,
            "messages": schemas.MESSAGES,
            **schemas.IDS,
            "metadata": schemas.METADATA,
            "timestamp": schemas.SAID_AT,
            "expiration_date": schemas.EXPIRES,
            "infer": schemas.INFER,
            "trust": schemas.TRUST,
        },
        carry_out=_add,
        reads_only=False,
        repeatable=False,
        answers=schemas.RESULTS,
    ),
    Tool(
        name="search_memories",
        title="Search memories",
        operation="search",
        description=(
            "Find what is remembered about a subject, best match first. Call it before answering"
            " whenever earlier conversations may matter: who somebody is, what they like, what was"
            " decided, when something happened. Ask a full question in any language, such as 'What"
            " food can Alice not eat?'; a question may name a time ('last month'). An empty answer"
            " means that nothing is known: say so rather than guess."
        ),
        arguments={
            "query": schemas.QUERY,
            **schemas.IDS,
            "filters": schemas.FILTERS,
            "top_k": schemas.TOP_K,
            "threshold": schemas.THRESHOLD,
        },
        required=("query",),
        carry_out=_search,
        answers=schemas.RESULTS,
    ),
    Tool(
        name="get_memories",
        title="List memories",
        operation="get_all",
        description=(
            "List the memories of a user, agent, app or run, newest first, in pages, with their"
            " exact number. For going through everything ('what do you know about me?'); to answer"
            " a question, search_memories is better."
        ),
        arguments={
            **schemas.IDS,
            "filters": schemas.FILTERS,
            "page": schemas.PAGE,
            "page_size": schemas.PAGE_SIZE,
        },
        carry_out=_get_all,
        answers=schemas.RESULTS,
    ),
    Tool(
        name="get_memory",
        title="Read one memory",
        operation="get",
        description="Read one memory by its id, with all that is kept about it.",
        arguments=_MEMORY,
        required=("memory_id",),
        carry_out=_get,
    ),
    Tool(
        name="update_memory",
        title="Correct a memory",
        operation="update",
        description=(
            "Correct or complete one memory: give its id and the whole new text. Find the id with"
            " search_memories first. The earlier text stays in the memory's history. Use it when"
            " something remembered was wrong; what merely changed over time is better added anew."
        ),
        arguments={
            **_MEMORY,
            "text": schemas.TEXT,
            "metadata": schemas.METADATA,
            "expiration_date": schemas.EXPIRES,
        },
        required=("memory_id",),
        carry_out=_update,
        reads_only=False,
        destroys=True,
    ),
    Tool(
        name="delete_memory",
        title="Forget one memory",
        operation="delete",
        description=(
            "Forget one memory for good, and the words it was taken from. Only when the user asks"
            " for it, or to remove what should never have been stored. Find the id with"
            " search_memories first."
        ),
        arguments=_MEMORY,
        required=("memory_id",),
        carry_out=_delete,
        reads_only=False,
        destroys=True,
    ),
    Tool(
        name="delete_all_memories",
        title="Forget everything of somebody",
        operation="delete_all",
        description=(
            "Forget, for good, every memory that belongs to all of the ids named together. At least"
            " one id must be named; nobody is meant by default. Only when the user clearly asks to"
            " forget everything: it cannot be undone. Answers with how many were deleted."
        ),
        arguments=schemas.IDS,
        carry_out=_delete_all,
        reads_only=False,
        destroys=True,
        fills_user=False,
    ),
    Tool(
        name="delete_entities",
        title="Forget a user, agent, app or run",
        operation="delete_all",
        description=(
            "Remove one user, agent, app or run with every memory it has a share in. Name exactly"
            " one id. Only when the user clearly asks for it: it cannot be undone."
        ),
        arguments=schemas.IDS,
        carry_out=_delete_entity,
        reads_only=False,
        destroys=True,
        fills_user=False,
    ),
    Tool(
        name="list_entities",
        title="Who has memories",
        operation="entities",
        description=(
            "List the users, agents, apps and runs that have memories, and how many each has."
            " Helps to find out which id to search with."
        ),
        arguments={"page": schemas.PAGE, "page_size": schemas.PAGE_SIZE},
        carry_out=_entities,
        answers=schemas.RESULTS,
    ),
    Tool(
        name="list_events",
        title="What was asked lately",
        operation="events",
        description=(
            "List what was asked of this memory lately (adds, deletions), newest first, with how"
            " far each is. Use status FAILED to find what went wrong."
        ),
        arguments={
            "status": schemas.STATUS,
            "page": schemas.PAGE,
            "page_size": schemas.PAGE_SIZE,
        },
        carry_out=_events,
        answers=schemas.RESULTS,
    ),
    Tool(
        name="get_event_status",
        title="How far something is",
        operation="event",
        description=(
            "How far one event is: PENDING, RUNNING, SUCCEEDED or FAILED, with what came of it."
            " The event_id is told by add_memory where extraction takes a while."
        ),
        arguments={"event_id": schemas.EVENT_ID},
        required=("event_id",),
        carry_out=_event,
    ),
)

BY_NAME: Mapping[str, Tool] = {tool.name: tool for tool in TOOLS}
