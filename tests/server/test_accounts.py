"""People who sign in: registration, passwords, tokens and their turns, and keys of their own."""

from __future__ import annotations

import base64
import json
import stat
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from holdfast.config import load_config
from holdfast.core import passwords
from holdfast.errors import ConfigError, StoreUnavailableError
from holdfast.server.auth.secret import FILE, signing_key
from support.served import Served, served

ANN = {"name": "Ann", "email": "ann@example.com", "password": "correct horse battery"}


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that cost little to keep and to compare; what they cost is tested without this."""
    nobodys = passwords.NOBODYS.replace(f"${passwords._LOG_N}$", "$8$", 1)
    monkeypatch.setattr(passwords, "_LOG_N", 8)
    monkeypatch.setattr(passwords, "NOBODYS", nobodys)


@pytest.fixture
def nobody(server: Served, cheap: None) -> Iterator[httpx.Client]:
    """Shows no credential."""
    with httpx.Client(base_url=server.url, timeout=60) as talking:
        yield talking


@pytest.fixture
def ann(nobody: httpx.Client) -> dict[str, Any]:
    """The tokens of the first administrator."""
    answer = nobody.post("/auth/register", json=ANN)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def bearer(tokens: dict[str, Any] | str) -> dict[str, str]:
    token = tokens if isinstance(tokens, str) else tokens["access_token"]
    return {"Authorization": f"Bearer {token}"}


def login(nobody: httpx.Client, **other: str) -> httpx.Response:
    body = {"email": ANN["email"], "password": ANN["password"], **other}
    return nobody.post("/auth/login", json=body)


def refresh(nobody: httpx.Client, tokens: dict[str, Any]) -> httpx.Response:
    return nobody.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})


def me(nobody: httpx.Client, tokens: dict[str, Any] | str) -> int:
    return nobody.get("/auth/me", headers=bearer(tokens)).status_code


def test_the_first_to_register_is_the_administrator(nobody: httpx.Client, server: Served) -> None:
    assert nobody.get("/auth/setup-status").json() == {"needsSetup": True}
    tokens = nobody.post("/auth/register", json=ANN).json()
    assert tokens["token_type"] == "bearer"
    assert nobody.get("/auth/setup-status").json() == {"needsSetup": False}
    again = nobody.post("/auth/register", json={**ANN, "email": "eve@example.com"})
    assert again.status_code == 403
    found = nobody.get("/auth/me", headers=bearer(tokens)).json()
    assert (found["name"], found["email"], found["role"]) == ("Ann", "ann@example.com", "admin")
    assert "password" not in found
    (account,) = server.run(server.deployment.admin.accounts.all())
    assert account.password.startswith("scrypt$")
    assert ANN["password"] not in account.password


def test_of_two_that_register_at_once_one_is_first(server: Served, cheap: None) -> None:
    answers: list[int] = []

    def register(name: str) -> None:
        body = {**ANN, "email": f"{name}@example.com"}
        answer = httpx.post(f"{server.url}/auth/register", json=body, timeout=60)
        answers.append(answer.status_code)

    threads = [threading.Thread(target=register, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 403, 403]


def test_a_token_works_wherever_a_key_does(nobody: httpx.Client, ann: dict[str, Any]) -> None:
    body = {"messages": [{"role": "user", "content": "I like tea"}], "user_id": "ann"}
    assert nobody.post("/memories", json=body, headers=bearer(ann)).status_code == 200
    assert len(nobody.get("/memories", headers=bearer(ann)).json()["results"]) == 1
    assert nobody.get("/v1/ping/", headers=bearer(ann)).json()["project_id"] == "default"


def test_who_is_no_administrator_reads_and_writes(nobody: httpx.Client, server: Served) -> None:
    create = server.deployment.admin.accounts.create
    server.run(create("bob@example.com", "Bob", "another password"))
    tokens = login(nobody, email="Bob@Example.com", password="another password").json()
    assert nobody.get("/memories?user_id=ann", headers=bearer(tokens)).status_code == 200
    for method, path in [("POST", "/reset"), ("GET", "/requests"), ("POST", "/configure")]:
        answer = nobody.request(method, path, json={}, headers=bearer(tokens))
        assert answer.status_code == 403, path


@pytest.mark.parametrize(
    "other", [{"password": "wrong horse battery"}, {"email": "eve@example.com"}]
)
def test_a_wrong_password_and_an_unknown_address_are_told_alike(
    nobody: httpx.Client, ann: dict[str, Any], other: dict[str, str]
) -> None:
    answer = login(nobody, **other)
    assert answer.status_code == 401
    assert answer.json()["detail"].startswith("Invalid email or password.")
    assert login(nobody).status_code == 200


def test_an_unknown_address_takes_as_long(server: Served) -> None:
    assert httpx.post(f"{server.url}/auth/register", json=ANN, timeout=60).status_code == 200
    sign_in = server.deployment.admin.accounts.sign_in

    async def timed(email: str) -> float:
        begun = time.perf_counter()
        with pytest.raises(Exception, match="Invalid email or password"):
            await sign_in(email, "wrong horse battery")
        return time.perf_counter() - begun

    known = [server.run(timed("ann@example.com")) for _ in range(4)]
    unknown = [server.run(timed("eve@example.com")) for _ in range(4)]
    assert statistics.median(unknown) > 0.5 * statistics.median(known)


def test_a_refresh_token_is_good_once_and_its_second_use_signs_out(
    nobody: httpx.Client, ann: dict[str, Any]
) -> None:
    elsewhere = login(nobody).json()
    second = refresh(nobody, ann).json()
    assert me(nobody, second) == 200
    third = refresh(nobody, second).json()
    assert me(nobody, third) == 200
    stolen = refresh(nobody, ann)
    assert stolen.status_code == 401
    assert refresh(nobody, third).status_code == 401  # its owner is signed out as well
    assert me(nobody, third) == 401
    assert me(nobody, elsewhere) == 200
    assert refresh(nobody, elsewhere).status_code == 200


def test_of_many_who_use_a_refresh_token_at_once_one_gets_the_next(
    server: Served, ann: dict[str, Any]
) -> None:
    codes: list[int] = []

    def use() -> None:
        with httpx.Client(base_url=server.url) as own:
            codes.append(refresh(own, ann).status_code)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes.count(200) <= 1
    assert codes.count(401) >= 5


def test_tokens_are_not_taken_for_each_other(nobody: httpx.Client, ann: dict[str, Any]) -> None:
    assert me(nobody, ann["refresh_token"]) == 401
    body = {"refresh_token": ann["access_token"]}
    assert nobody.post("/auth/refresh", json=body).status_code == 401


def forged(token: str, key: Any, algorithm: str | None = "HS256", **other: Any) -> str:
    claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.encode({**claims, **other}, key, algorithm)


def test_forged_and_expired_tokens_are_refused(
    nobody: httpx.Client, server: Served, ann: dict[str, Any]
) -> None:
    token = ann["access_token"]
    key = signing_key(server.deployment.admin.config)
    assert me(nobody, forged(token, key)) == 200
    now = int(time.time())
    refused = {
        "expired": forged(token, key, exp=now - 1),
        "issued by another": forged(token, key, iss="somebody"),
        "of nobody": forged(token, key, sub="nobody"),
        "of another place": forged(token, key, sid="elsewhere"),
        "of a list": forged(token, key, sid=["a"]),
        "signed with another key": forged(token, b"x" * 32),
        "signed with another algorithm": forged(token, key * 2, "HS512"),
        "not signed": forged(token, None, None),
        "without an end": jwt.encode({"sub": "a", "type": "access"}, key, "HS256"),
    }
    header, _, rest = token.partition(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
    refused["with its algorithm cut off"] = f"{none}.{rest}"
    refused["cut"] = f"{header}.{rest}"[:-4]
    assert {name: me(nobody, bad) for name, bad in refused.items()} == dict.fromkeys(refused, 401)


def test_a_changed_password_signs_out_everywhere_else(
    nobody: httpx.Client, ann: dict[str, Any]
) -> None:
    elsewhere = login(nobody).json()
    change = {"current_password": ANN["password"], "new_password": "a new one, longer"}
    wrong = {**change, "current_password": "not this one"}
    short = {**change, "new_password": "short"}
    place = "/auth/change-password"
    assert nobody.post(place, json=wrong, headers=bearer(ann)).status_code == 401
    assert nobody.post(place, json=short, headers=bearer(ann)).status_code == 400
    answer = nobody.post(place, json=change, headers=bearer(ann))
    assert answer.json() == {"message": "Password updated."}
    assert me(nobody, ann) == 200
    assert me(nobody, elsewhere) == 401
    assert refresh(nobody, elsewhere).status_code == 401
    assert login(nobody).status_code == 401
    assert login(nobody, password="a new one, longer").status_code == 200


def test_one_changes_oneself(nobody: httpx.Client, server: Served, ann: dict[str, Any]) -> None:
    create = server.deployment.admin.accounts.create
    server.run(create("bob@example.com", "Bob", "another password"))
    with httpx.Client(base_url=server.url, headers=bearer(ann)) as own:
        assert own.patch("/auth/me", json={"name": " Anna "}).json()["name"] == "Anna"
        assert own.patch("/auth/me", json={"name": "  "}).json()["name"] == "Anna"
        assert own.patch("/auth/me", json={"email": "bob@example.com"}).status_code == 409
        changed = own.patch("/auth/me", json={"email": "Anna@example.com"}).json()
        assert changed["email"] == "anna@example.com"
        done = own.post("/auth/onboarding-complete", json={"use_case": "notes"})
        assert done.json() == {"message": "Onboarding completed."}
        assert own.get("/auth/me").json()["onboarded"] is True


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/register", {**ANN, "email": "no address"}),
        ("/auth/register", {"email": ANN["email"]}),
        ("/auth/login", {"email": ANN["email"]}),
        ("/auth/login", {"email": ANN["email"], "password": "x" * 2_000}),
        ("/auth/refresh", {}),
    ],
)
def test_wrong_forms_are_refused(nobody: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = nobody.post(path, json=body)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], list)


def test_a_short_password_is_refused(nobody: httpx.Client) -> None:
    answer = nobody.post("/auth/register", json={**ANN, "password": "seven77"})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "Password must be at least 8 characters."
    assert nobody.get("/auth/setup-status").json() == {"needsSetup": True}


def test_an_address_tries_only_so_often(nobody: httpx.Client) -> None:
    for path, most in [("/auth/register", 5), ("/auth/login", 10), ("/auth/refresh", 20)]:
        codes = [nobody.post(path, json={}).status_code for _ in range(most + 1)]
        assert codes == [422] * most + [429]
    assert int(nobody.post("/auth/login", json={}).headers["retry-after"]) >= 1


def test_keys_of_ones_own(nobody: httpx.Client, server: Served, ann: dict[str, Any]) -> None:
    own = httpx.Client(base_url=server.url, headers=bearer(ann))
    with own:
        answer = own.post("/api-keys", json={"label": "laptop"})
        made = answer.json()
        assert answer.status_code == 201
        assert made.keys() == {"id", "key", "label", "key_prefix", "created_at"}
        assert made["key"].startswith(made["key_prefix"])
        (listed,) = own.get("/api-keys").json()
        assert listed == {k: v for k, v in made.items() if k != "key"} | {"last_used_at": None}
        with_key = {"X-API-Key": made["key"]}
        assert nobody.get("/auth/me", headers=with_key).json()["name"] == "Ann"
        server.run(server.deployment.admin._recogniser.uses.write())  # type: ignore[union-attr]
        (listed,) = own.get("/api-keys").json()
        assert listed["last_used_at"] > listed["created_at"]
        assert own.delete(f"/api-keys/{made['id']}").json() == {"message": "API key revoked."}
        assert own.delete(f"/api-keys/{made['id']}").status_code == 400
        assert own.delete("/api-keys/000000000000").status_code == 404
        assert own.get("/api-keys").json() == []
        assert nobody.get("/auth/me", headers=with_key).status_code == 401


def test_nobody_touches_anothers_keys_or_gets_more_than_they_have(
    nobody: httpx.Client, server: Served, ann: dict[str, Any]
) -> None:
    admin = server.deployment.admin
    server.run(admin.accounts.create("bob@example.com", "Bob", "another password"))
    hers = nobody.post("/api-keys", json={"label": "a"}, headers=bearer(ann)).json()
    bob = bearer(login(nobody, email="bob@example.com", password="another password").json())
    assert nobody.get("/api-keys", headers=bob).json() == []
    assert nobody.delete(f"/api-keys/{hers['id']}", headers=bob).status_code == 404
    his = nobody.post("/api-keys", json={"label": "b"}, headers=bob).json()["key"]
    assert nobody.post("/reset", headers={"X-API-Key": his}).status_code == 403
    key = {"X-API-Key": server.run(admin.create_key(permissions=("read", "write"))).secret}
    assert nobody.get("/api-keys", headers=key).status_code == 403
    fenced = server.run(admin.create_key(users=["ann"])).secret
    made = nobody.post("/api-keys", json={"label": "c"}, headers={"X-API-Key": fenced})
    assert made.status_code == 403


def test_the_admin_key_stands_for_the_oldest_account(
    client: httpx.Client, nobody: httpx.Client
) -> None:
    assert client.get("/auth/me").status_code == 401
    made = client.post("/api-keys", json={"label": "first"}).json()
    assert [one["id"] for one in client.get("/api-keys").json()] == [made["id"]]
    nobody.post("/auth/register", json=ANN)
    assert client.get("/auth/me").json()["email"] == "ann@example.com"


def test_a_deleted_account_is_gone_at_once(
    nobody: httpx.Client, server: Served, ann: dict[str, Any]
) -> None:
    accounts = server.deployment.admin.accounts
    key = nobody.post("/api-keys", json={"label": "a"}, headers=bearer(ann)).json()["key"]
    (account,) = server.run(accounts.all())
    server.run(accounts.delete(account.id))
    assert me(nobody, ann) == 401
    assert refresh(nobody, ann).status_code == 401
    assert nobody.get("/memories?user_id=a", headers={"X-API-Key": key}).status_code == 401


def test_tokens_outlive_a_restart_and_are_no_good_elsewhere(tmp_path: Path) -> None:
    with served(tmp_path / "a") as first, httpx.Client(base_url=first.url) as talking:
        tokens = talking.post("/auth/register", json=ANN).json()
    with served(tmp_path / "a") as again:
        assert httpx.get(f"{again.url}/auth/me", headers=bearer(tokens)).status_code == 200
    with served(tmp_path / "b") as other:
        assert httpx.get(f"{other.url}/auth/me", headers=bearer(tokens)).status_code == 401


def test_the_secret_is_made_once_for_those_who_start_at_once(tmp_path: Path) -> None:
    config = load_config({"path": str(tmp_path)}).config
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(signing_key(config))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 16
    assert len(set(keys)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_a_secret_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    def key(secret: str) -> bytes:
        config = {"path": str(tmp_path), "server": {"token_secret": secret}}
        return signing_key(load_config(config).config)

    with pytest.raises(ConfigError, match="token_secret"):
        key("short")
    assert key("a long enough secret") != key("another long secret")
    (tmp_path / FILE).write_text("cut")
    with pytest.raises(StoreUnavailableError, match="holds no secret"):
        signing_key(load_config({"path": str(tmp_path)}).config)


def test_passwords_name_what_they_cost_and_are_salted() -> None:
    kept = [passwords.kept("pässword", bytes([n]) * 16) for n in range(2)]
    assert kept[0] != kept[1]
    assert all(one.startswith("scrypt$15$8$3$") for one in kept)
    assert passwords.proves("pa\u0308ssword", kept[0])  # composed by another keyboard
    assert not passwords.proves("password", kept[0])
    assert not passwords.proves("x" * 2_000, kept[0])
    assert not passwords.proves("", passwords.NOBODYS)
