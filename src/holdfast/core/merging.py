"""One list of several: what shards found, as if one index had."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from holdfast.ports import Match, TermMatches


def merge_matches(lists: Iterable[Sequence[Match]], limit: int) -> list[Match]:
    """The best of all, each id once."""
    best: dict[str, Match] = {}
    for matches in lists:
        for match in matches:
            known = best.get(match.id)
            if known is None or match.score > known.score:
                best[match.id] = match
    return sorted(best.values(), key=lambda match: -match.score)[:limit]


def merge_terms(
    answers: Sequence[Sequence[TermMatches]], limit: int, *, copies: bool
) -> list[TermMatches]:
    """The answers of shards to the same words, word by word.

    The scores of a word are compared as they are: BM25's share, within a factor that is nearly the
    same where homes are spread by hashing. `copies`: whether a point may be in two shards.
    """
    return [_word(word, limit, copies) for word in zip(*answers, strict=True)]


def _word(parts: Sequence[TermMatches], limit: int, copies: bool) -> TermMatches:
    merged = merge_matches([part.matches for part in parts], limit)
    known = [_rows(part, limit) for part in parts]
    whole = all(rows == len(part.matches) for rows, part in zip(known, parts, strict=True))
    if whole:
        # every holder has come: counted here, since a copy counts once
        rows: int | None = len({match.id for part in parts for match in part.matches})
    else:
        rows = None if copies or None in known else sum(filter(None, known))
    return TermMatches(matches=tuple(merged), rows=rows)


def _rows(part: TermMatches, limit: int) -> int | None:
    if part.rows is None and len(part.matches) < limit:
        return len(part.matches)
    return part.rows
