"""The table of calls: every public method of each generation's client, in an order that works."""

from __future__ import annotations

from typing import Any

Call = tuple[str, str, list[Any], dict[str, Any]]
"""Label, method, arguments, keyword arguments."""

ANN = {"user_id": "ann"}
TEA = [{"role": "user", "content": "I like to drink tea", "name": "Ann"}]
ID = {"$": "add.results.0.id"}
OTHER_ID = {"$": "add_more.results.0.id"}
ODD_NAME = "a/b c ünï"
"""Clients before 2.0 put names into paths as they are: no "?" or "%" for them."""
ODDER_NAME = "a/b?c % al ice ünï🙂"


def of_one_memory(second: dict[str, Any]) -> list[Call]:
    """What all generations call alike."""
    return [
        ("get", "get", [ID], {}),
        ("update", "update", [ID], {"text": "I like to drink coffee", "metadata": {"a": 2}}),
        ("history", "history", [ID], {}),
        ("users", "users", [], {}),
        ("batch_update", "batch_update", [[{"memory_id": ID, "text": "I like cocoa"}]], {}),
        ("batch_delete", "batch_delete", [[{"memory_id": OTHER_ID}]], {}),
        ("unknown", "get", ["0190f5fe-7c1e-7b5a-9d53-6d7f0a4f1c11"], {}),
        ("no_uuid", "get", ["12"], {}),
        ("delete", "delete", [ID], {}),
        ("deleted", "get", [ID], {}),
        ("add_again", "add", [TEA], second),
        ("delete_all", "delete_all", [], {"user_id": "ann"}),
        ("delete_all_of_nobody", "delete_all", [], {}),
        ("chat", "chat", [], {}),
    ]


def ending(name: str) -> list[Call]:
    """Entities, then everything away."""
    return [
        ("add_odd", "add", [TEA], {"user_id": name, "infer": False}),
        ("delete_odd", "delete_users", [], {"user_id": name}),
        ("users_then", "users", [], {}),
        ("add_last", "add", [TEA], {"user_id": "zoe", "infer": False}),
        ("reset", "reset", [], {}),
        ("users_at_last", "users", [], {}),
    ]


def of_v2() -> list[Call]:
    """The calls of `mem0ai` 2.x."""
    kept = {"infer": False, "expiration_date": "2099-01-01"}
    filters = {"filters": ANN}
    return [
        ("add", "add", [TEA], {**ANN, **kept, "metadata": {"a": 1}}),
        ("add_more", "add", ["I like to drink wine"], {**ANN, "infer": False}),
        ("add_inferred", "add", [TEA[0]], {**ANN, "custom_instructions": "Only drinks."}),
        ("add_options", "add", ["I own a boat"], {"options": _options("Add", {"filters": ANN})}),
        ("get_all", "get_all", [], {**filters, "page": 1, "page_size": 2}),
        ("get_all_page", "get_all", [], {**filters, "page": 2}),
        ("get_all_options", "get_all", [], {"options": _options("GetAll", {"filters": ANN})}),
        ("search", "search", ["What do I drink?"], {**filters, "top_k": 2}),
        ("search_options", "search", ["drink"], {"options": _options("Search", filters)}),
        ("search_odd", "search", ["drink"], {"filters": {"NOT": [ANN]}}),
        ("clear_date", "update", [ID], {"expiration_date": None}),
        ("update_time", "update", [ID], {"timestamp": 1_772_356_200}),
        *of_one_memory({**ANN, "infer": False}),
        ("add_third", "add", [TEA], {**ANN, "infer": False}),
        ("delete_linked", "delete", [{"$": "add_third.results.0.id"}], {"delete_linked": True}),
        ("add_fourth", "add", [TEA], {**ANN, "infer": False}),
        ("add_bob", "add", [TEA], {"user_id": "bob", "infer": False}),
        ("delete_by_filter", "delete_all", [], {"options": _options("DeleteAll", filters)}),
        ("left", "get_all", [], {"filters": {"user_id": "*"}}),
        *ending(ODDER_NAME),
    ]


def of_v1() -> list[Call]:
    """The calls of `mem0ai` 1.0.x."""
    return [
        ("add", "add", [TEA], {**ANN, "infer": False, "metadata": {"a": 1}}),
        ("add_more", "add", ["I like to drink wine"], {**ANN, "async_mode": False}),
        ("add_inferred", "add", [TEA[0]], dict(ANN)),
        ("get_all", "get_all", [], {**ANN, "page": 1, "page_size": 2}),
        ("get_all_bare", "get_all", [], dict(ANN)),
        ("get_all_filters", "get_all", [], {"filters": ANN}),
        ("search", "search", ["What do I drink?"], {**ANN, "top_k": 2, "threshold": 0.1}),
        ("search_filters", "search", ["drink"], {"filters": ANN}),
        ("update_time", "update", [ID], {"timestamp": 1_772_356_200}),
        *of_one_memory({**ANN, "infer": False}),
        *ending(ODD_NAME),
    ]


def of_v0() -> list[Call]:
    """The calls of `mem0ai` 0.1.x."""
    v2 = {"version": "v2"}
    return [
        ("add", "add", [TEA], {**ANN, "infer": False, "metadata": {"a": 1}}),
        ("add_more", "add", [[{"role": "user", "content": "I like to drink wine"}]], dict(ANN)),
        ("get_all", "get_all", [], {**ANN, "page": 1, "page_size": 2}),
        ("get_all_bare", "get_all", [], dict(ANN)),
        ("get_all_v2", "get_all", [], {**v2, "filters": ANN}),
        ("get_all_v2_page", "get_all", [], {**v2, "filters": ANN, "page": 1, "page_size": 2}),
        ("search", "search", ["What do I drink?"], {**ANN, "limit": 2, "threshold": 0.1}),
        ("search_v2", "search", ["drink"], {**v2, "filters": ANN}),
        *of_one_memory({**ANN, "infer": False}),
        *ending(ODD_NAME),
    ]


def of_setup() -> list[Call]:
    """Calls that set projects up and take memories out; alike in all generations."""
    url = "https://hooks.example.org/in"
    schema = {"properties": {"drink": {"type": "string"}}, "type": "object"}
    someone = {"email": "eve@example.org"}
    return [
        ("fact", "add", [TEA], {**ANN, "infer": False}),
        ("feedback", "feedback", [{"$": "fact.results.0.id"}], {"feedback": "POSITIVE"}),
        ("create_export", "create_memory_export", [schema], {"filters": ANN}),
        (
            "get_export",
            "get_memory_export",
            [],
            {"memory_export_id": {"$": "create_export.id"}},
        ),
        ("summary", "get_summary", [], {"filters": ANN}),
        ("get_project", "get_project", [], {}),
        ("update_project", "update_project", [], {"custom_instructions": "Only drinks."}),
        ("project_get", "project.get", [], {"fields": ["custom_instructions"]}),
        ("project_update", "project.update", [], {"custom_categories": [{"food": "Food."}]}),
        ("project_add_member", "project.add_member", [], {**someone, "role": "READER"}),
        ("project_update_member", "project.update_member", [], {**someone, "role": "OWNER"}),
        ("project_get_members", "project.get_members", [], {}),
        ("project_remove_member", "project.remove_member", [], dict(someone)),
        ("project_create", "project.create", ["Another"], {"description": "One more."}),
        ("get_webhooks", "get_webhooks", ["default"], {}),
        ("create_webhook", "create_webhook", [url, "mine", "default", ["memory_add"]], {}),
        (
            "update_webhook",
            "update_webhook",
            [{"$": "create_webhook.webhook_id"}],
            {"name": "yours"},
        ),
        ("delete_webhook", "delete_webhook", [{"$": "create_webhook.webhook_id"}], {}),
    ]


def of_profiles() -> list[Call]:
    """Profiles, which came with 2.1."""
    food = {"type": "array", "items": {"type": "string"}, "description": "What they eat."}
    schema = {"type": "object", "properties": {"food": food}}
    return [
        ("profile_fact", "add", [TEA], {**ANN, "infer": False}),
        ("profile_off", "get_profile", ["ann"], {}),
        ("profile_settings", "get_profile_settings", [], {}),
        (
            "profile_update",
            "update_profile_settings",
            [],
            {"enabled": True, "schema": schema, "custom_instructions": "Briefly."},
        ),
        ("profile", "get_profile", ["ann"], {}),
        ("profile_made", "generate_profile", ["ann"], {"idempotency_key": "once"}),
        ("profile_again", "generate_profile", ["ann"], {"idempotency_key": "once"}),
        ("profile_job", "get_profile_job", [{"$": "profile_made.status_url"}], {}),
        ("profile_job_id", "get_profile_job", [{"$": "profile_made.job_id"}], {}),
        ("profile_sample", "sample_profiles", [], {"limit": 2}),
        ("profile_unknown", "get_profile", ["nobody"], {}),
    ]


REFUSED = {"project.delete"}
"""The home project cannot be deleted: not called here."""


def _options(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"$options": [f"{kind}MemoryOptions", fields]}
