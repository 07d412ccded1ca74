"""What can be set of the server: the section `server` of the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from holdfast import limits
from holdfast.model import Struct


def _limit(what: str) -> Meta:
    return Meta(description=f'{what}, like "600/minute"; empty for no limit.')


class ServerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that only `holdfast serve` and `holdfast worker` read."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port; 0 takes a free one.")] = 8888
    tls_cert: Annotated[str, Meta(description="Certificate chain, PEM file.")] = ""
    tls_key: Annotated[str, Meta(description="Private key of the certificate, PEM file.")] = ""
    health_connects: Annotated[
        bool,
        Meta(description="Whether health checks connect to where models are asked (no request)."),
    ] = True
    trusted_proxies: Annotated[
        str,
        Meta(description="Addresses, with commas, whose X-Forwarded-For and -Proto are believed."),
    ] = ""
    cors_origins: Annotated[
        str, Meta(description="Origins, with commas, whose pages may call; empty for none.")
    ] = ""
    admin_key: Annotated[
        str,
        Meta(description="Key that may do everything, in every project. HOLDFAST_ADMIN_KEY too."),
    ] = ""
    auth_disabled: Annotated[
        bool, Meta(description="Whoever calls may do everything: for trying out on one machine.")
    ] = False
    token_secret: Annotated[
        str, Meta(description="Signs the tokens of accounts; without one, a file of the store.")
    ] = ""
    oidc_issuer: Annotated[
        str, Meta(description="Issuer of JWTs that are accepted, https://...; empty for none.")
    ] = ""
    oidc_audience: Annotated[str, Meta(description="Audience a JWT must name.")] = ""
    oidc_jwks_url: Annotated[
        str, Meta(description="Where the issuer's keys are; default: as its metadata says.")
    ] = ""
    oidc_project_claim: Annotated[
        str, Meta(description="Claim that names the project of a JWT.")
    ] = "holdfast_project"
    oidc_permissions_claim: Annotated[
        str, Meta(description="Claim that lists its permissions: read, write, admin.")
    ] = "holdfast_permissions"
    oidc_users_claim: Annotated[
        str, Meta(description="Claim that lists the only users it is for, if it is there.")
    ] = "holdfast_users"
    redis_url: Annotated[
        str,
        Meta(description="Redis to count limits in; empty: the cache's, or each process its own."),
    ] = ""
    key_limit_search: Annotated[str, _limit("Searches of one key")] = "12000/minute"
    key_limit_read: Annotated[str, _limit("Other reads of one key")] = "12000/minute"
    key_limit_add: Annotated[str, _limit("Adds of one key")] = "6000/minute"
    key_limit_write: Annotated[str, _limit("Other changes of one key")] = "6000/minute"
    key_limit_admin: Annotated[str, _limit("Administrative calls of one key")] = "600/minute"
    user_limit_search: Annotated[str, _limit("Searches for one user")] = ""
    user_limit_add: Annotated[str, _limit("Adds for one user")] = ""
    body_bytes_max: Annotated[
        int, Meta(ge=1_024, le=2**30, description="Bytes of one request's body.")
    ] = limits.BODY_BYTES_MAX
    body_timeout_s: Annotated[
        float, Meta(ge=0.1, le=3600, description="Seconds a body may take to arrive.")
    ] = 30.0
    header_timeout_s: Annotated[
        float, Meta(ge=0.1, le=3600, description="Seconds the head of a request may take.")
    ] = 10.0
    request_timeout_s: Annotated[
        float, Meta(ge=0.1, le=3600, description="Seconds one request may take.")
    ] = 150.0
    requests_max: Annotated[
        int, Meta(ge=1, le=65_536, description="Requests worked on at once; more are sent away.")
    ] = 256
    connections_max: Annotated[
        int, Meta(ge=1, le=65_536, description="Connections open at once.")
    ] = 2_048
    processes: Annotated[
        int,
        Meta(ge=1, le=64, description="Processes that serve; each counts limits, without a Redis."),
    ] = 1
    store_wait_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds to wait, at the start, for a record store that is away, answering "
            "503 meanwhile; 0 ends at once.",
        ),
    ] = 600.0
    drain_notice_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Seconds in which it tells that it stops, and still takes requests.",
        ),
    ] = 0.0
    drain_s: Annotated[
        float, Meta(ge=0, le=3600, description="Seconds to finish what runs when told to stop.")
    ] = 30.0
    webhook_private: Annotated[
        bool, Meta(description="Whether webhooks may call addresses of the own network.")
    ] = False
    metrics_open: Annotated[
        bool, Meta(description="Whether /metrics answers without an admin key.")
    ] = False
    metrics_mem0_names: Annotated[
        bool, Meta(description="Whether /metrics repeats the main metrics as mem0_*.")
    ] = False
