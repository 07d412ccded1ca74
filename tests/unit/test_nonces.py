"""No nonce is given twice: GCM with a repeated one tells texts and lets others be forged."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from holdfast.backends.sql import nonces
from holdfast.core.seal import NONCE_BYTES


def test_threads_never_get_the_same() -> None:
    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(lambda _: nonces.nonce(), range(20_000)))
    assert {len(one) for one in drawn} == {NONCE_BYTES}
    assert len(set(drawn)) == len(drawn)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_does_not_get_those_of_its_parent() -> None:
    nonces.nonce()  # from now on there are some in store
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, b"".join(nonces.nonce() for _ in range(100)))
        os._exit(0)
    os.waitpid(child, 0)
    raw = os.read(reading, 65_536)
    os.close(reading)
    os.close(writing)
    theirs = {raw[at : at + NONCE_BYTES] for at in range(0, len(raw), NONCE_BYTES)}
    assert len(theirs) == 100
    assert theirs.isdisjoint(nonces.nonce() for _ in range(1_000))
