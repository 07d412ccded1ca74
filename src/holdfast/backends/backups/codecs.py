"""How archives are compressed: gzip always, Zstandard where its package is installed."""

from __future__ import annotations

import zlib
from importlib.util import find_spec
from typing import Final

from holdfast.core.archive import Codec
from holdfast.errors import ConfigError, MissingExtraError

ZSTD: Final = "zstd"
GZIP: Final = "gzip"
_GZIP_LEVEL: Final = 6
_ZSTD_LEVEL: Final = 3
_WITH_HEADER: Final = 16 + zlib.MAX_WBITS


def codec(name: str | None) -> Codec:
    """The codec of a name; for None the best there is. Raises ConfigError, MissingExtraError."""
    if name is None:
        name = ZSTD if find_spec("zstandard") else GZIP
    if name == GZIP:
        return Codec(GZIP, _gzip, _gunzip)
    if name == ZSTD:
        return _zstd()
    raise ConfigError(
        f"backup.config.compression: there is no {name[:64]!r}.", hint="Known are zstd and gzip."
    )


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(_GZIP_LEVEL, wbits=_WITH_HEADER)
    return packer.compress(data) + packer.flush()


def _gunzip(data: bytes, size: int) -> bytes:
    unpacker = zlib.decompressobj(_WITH_HEADER)
    try:
        raw = unpacker.decompress(data, size + 1)
    except zlib.error:
        raise ValueError("not gzip") from None
    if len(raw) > size or not unpacker.eof or unpacker.unused_data:
        raise ValueError("not as long as it should be")
    return raw


def _zstd() -> Codec:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise MissingExtraError(
            "Archives compressed with Zstandard need the package zstandard.",
            hint="pip install 'holdfast[backup]'.",
        ) from None

    def compress(data: bytes) -> bytes:
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data)

    def expand(data: bytes, size: int) -> bytes:
        try:
            told = zstandard.get_frame_parameters(data).content_size
            if told != size:
                raise ValueError("not as long as it should be")
            return zstandard.ZstdDecompressor().decompress(data)
        except zstandard.ZstdError:
            raise ValueError("not zstd") from None

    return Codec(ZSTD, compress, expand)
