"""Keyrings by the name of their provider, and what each takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from holdfast.backends.keyrings.local import VARIABLE, from_environment, from_file
from holdfast.config import Part, part_settings
from holdfast.errors import ConfigError, MissingExtraError
from holdfast.model import Struct
from holdfast.ports.keyring import KeyRing


class EnvironmentSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Master keys in the environment."""

    variable: str = VARIABLE
    """The variable that holds them."""


class FileSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Master keys in a file that only its owner may read."""

    path: str


def build(part: Part) -> KeyRing:
    """The keyring of a provider. Raises ConfigError, MissingExtraError."""
    make = _BUILDERS.get(part.provider)
    if make is None:
        known = ", ".join(("none", *_BUILDERS))
        raise ConfigError(
            f"seal.provider: there is no {part.provider[:64]!r}.", hint=f"Known are {known}."
        )
    return make(part)


def _environment(part: Part) -> KeyRing:
    return from_environment(part_settings(EnvironmentSettings, part, "seal").variable)


def _file(part: Part) -> KeyRing:
    return from_file(part_settings(FileSettings, part, "seal").path)


def _vault(part: Part) -> KeyRing:
    try:
        from holdfast.backends.keyrings.vault import VaultKeyRing, VaultSettings
    except ModuleNotFoundError as error:
        raise _missing("Vault", error, "vault") from error
    return VaultKeyRing(part_settings(VaultSettings, part, "seal"))


def _aws(part: Part) -> KeyRing:
    try:
        from holdfast.backends.keyrings.aws import AwsKeyRing, AwsSettings
    except ModuleNotFoundError as error:
        raise _missing("AWS KMS", error, "aws-kms") from error
    return AwsKeyRing(part_settings(AwsSettings, part, "seal"))


def _google(part: Part) -> KeyRing:
    try:
        from holdfast.backends.keyrings.google import GoogleKeyRing, GoogleSettings
    except ModuleNotFoundError as error:
        raise _missing("Google Cloud KMS", error, "gcp-kms") from error
    return GoogleKeyRing(part_settings(GoogleSettings, part, "seal"))


def _azure(part: Part) -> KeyRing:
    try:
        from holdfast.backends.keyrings.azure import AzureKeyRing, AzureSettings
    except ModuleNotFoundError as error:
        raise _missing("Azure Key Vault", error, "azure-key-vault") from error
    return AzureKeyRing(part_settings(AzureSettings, part, "seal"))


def _missing(what: str, error: ModuleNotFoundError, extra: str) -> MissingExtraError:
    return MissingExtraError(
        f"A keyring in {what} needs the package {error.name}.",
        hint=f"pip install 'holdfast[{extra}]'.",
    )


_BUILDERS: Final[dict[str, Callable[[Part], KeyRing]]] = {
    "environment": _environment,
    "file": _file,
    "vault": _vault,
    "aws-kms": _aws,
    "gcp-kms": _google,
    "azure-key-vault": _azure,
}
