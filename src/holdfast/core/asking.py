"""What a question asks for, judged by its words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from holdfast.core.stopwords import STOP_HAN

ASKS_WHEN: Final = 1
"""Flag of a question: it asks for a time."""
ASKS_NUMBER: Final = 2
"""Flag: it asks for a number or an amount."""
ASKS_OVERVIEW: Final = 4
"""Flag: it asks for a summary of what was said."""

_ASKING: Final[dict[str, int]] = {
    **dict.fromkeys(
        "when wann quand cuando cuándo quando wanneer när kiedy kapan когда متى कब".split(),
        ASKS_WHEN,
    ),
    **dict.fromkeys(
        """wieviel wieviele combien cuanto cuánto cuantos cuántos cuantas cuántas quanto quanti
        quante quantos quantas hoeveel ile berapa сколько كم कितना कितनी कितने""".split(),
        ASKS_NUMBER,
    ),
    **dict.fromkeys(
        """summary summarize summarise summarized summarised overview recap zusammenfassung
        überblick résumer résume resumen resumir resumo riassunto riassumi riassumere samenvatting
        overzicht сводка сводку ملخص ملخصا सारांश özet özetle podsumowanie ringkasan""".split(),
        ASKS_OVERVIEW,
    ),
}
_TIMES: Final = dict.fromkeys("date day month year time".split(), ASKS_WHEN)
_AMOUNTS: Final = "number percentage percent amount age price cost".split()
_ASKING_AFTER: Final[dict[str, dict[str, int]]] = {
    "what": {**_TIMES, **dict.fromkeys(_AMOUNTS, ASKS_NUMBER)},
    "which": _TIMES,
    "how": dict.fromkeys("many much often old long far big tall".split(), ASKS_NUMBER),
    "wie": dict.fromkeys("viel viele lange oft alt".split(), ASKS_NUMBER),
    "ne": {"zaman": ASKS_WHEN, "kadar": ASKS_NUMBER},
}
"""Flags by a word and the one after it."""
_ASKING_RUNS: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (
        ASKS_WHEN,
        tuple("什么时候 什麼時候 何时 何時 几月 几号 幾月 幾號 哪天 哪年 いつ 언제 เมื่อไ".split()),
    ),
    (
        ASKS_NUMBER,
        tuple(
            """多少 几个 几次 几天 几年 几岁 几点 幾個 多久 多大 何人 何歳 何回 何個 いくつ いくら
            몇 얼마 กี่""".split()
        ),
    ),
    (ASKS_OVERVIEW, tuple("总结 總結 概述 概括 回顾 回顧 要約 まとめて 요약".split())),
)
"""The same in scripts without spaces: any of the pieces in a run."""

_OF_THE_TALK: Final = frozenset(
    """
    conversation conversations discussion discussions discussed chat chats talked mention mentioned
    summary summarize summarise summarized summarised overview recap aspects
    gespräch gespräche gesprächen unterhaltung unterhaltungen besprochen erwähnt erwähnte
    zusammenfassung überblick aspekte
    discuté mentionné mentionnée résume résumer aperçu
    conversación conversaciones discusión mencionado mencioné resumen resumir aspectos
    conversa conversas discussão mencionei resumo
    conversazione conversazioni discussione discussioni menzionato riassunto riassumi aspetti
    gesprek gesprekken besproken genoemd samenvatting overzicht aspecten
    разговор разговоры разговоров разговорах беседы обсуждали упоминал упоминала сводка аспекты
    محادثة محادثات محادثاتنا ملخص बातचीत सारांश sohbet özet özetle rozmowy rozmowach podsumowanie
    percakapan ringkasan
    总结 總結 概括 概述 回顾 回顧 聊天 对话 對話 要約 会話 요약 대화
    """.split()
)
"""Words and two-character pieces that speak of the conversation itself, not of a subject."""
_BESIDE_IT: Final = frozenset(
    """
    brought throughout comprehensive order list complete quick clear walk items different topics
    concepts various across sessions messages
    reihenfolge liste verschiedene verschiedenen themen vollständige kurze
    ordre différents différentes complet bref orden lista diferentes distintos breve temas
    ordem ordine elenco diversi volgorde lijst verschillende порядке порядок разные список
    """.split()
)
"""Words that say what form the answer is to have, if one of the above is in the question too."""

OF_ANYTHING: Final = frozenset(
    """
    say said saying tell told telling talk talked talking speak spoke happen happened happening
    thing things anything everything something
    sagen gesagt sagte erzählen erzählt erzählte reden geredet passiert passierte geschehen geschah
    etwas alles
    dire dit disais raconter raconté parler parlé passé arrivé chose choses quelque
    decir dicho dije dijo contar contado conté hablar hablado hablamos pasó pasado ocurrió algo todo
    dizer disse contar contei falar falamos aconteceu coisa coisas algo tudo
    dire detto dissi raccontare raccontato parlare parlato successo accaduto cosa cose qualcosa
    zeggen gezegd zei vertellen verteld praten gepraat gebeurd gebeurde iets alles
    говорил говорила говорили сказал сказала рассказал рассказала случилось произошло
    قلت قال قالت قلنا تحدثنا تكلمنا أخبرتك حدث شيء कहा बताया बोला हुआ हुई बात बातें
    """.split()
)
"""Words of saying and happening, which fit whatever was said or happened: a question that has
nothing but them and a time asks for all of that time."""
HAN_OF_ANYTHING: Final = STOP_HAN | frozenset(" 聊谈談讲講话話发發生做事")
"""The same of Chinese, by character."""


def framing(words: Sequence[str]) -> list[bool]:
    """For each casefolded word of a question whether it is part of its frame.

    "List the different books we talked about": what is looked for speaks of books, and need not
    have any of the other words, however rare they are.
    """
    if not any(word in _OF_THE_TALK for word in words):
        return [False] * len(words)
    return [word in _OF_THE_TALK or word in _BESIDE_IT for word in words]


def asked(words: Iterable[str], runs: Iterable[str]) -> int:
    """Flags of a question by its casefolded words, and its runs in scripts without spaces."""
    asks = 0
    before = ""
    for word in words:
        asks |= _ASKING.get(word, 0)
        if before in _ASKING_AFTER:
            asks |= _ASKING_AFTER[before].get(word, 0)
        before = word
    for run in runs:
        for flag, pieces in _ASKING_RUNS:
            if any(piece in run for piece in pieces):
                asks |= flag
    return asks
