"""Whether a text denies something, in the languages that answers are mostly phrased in."""

from __future__ import annotations

import re
import unicodedata

_SPACED = (
    # English
    r"not|no|never|none|cannot|without|neither",
    # German; no "noch" of Dutch, which is "still" here
    r"nicht|nichts|kein\w*|ohne|nie|niemals|weder|nirgends|nein",
    # Dutch
    r"niet|niets|geen|nooit|zonder|nergens|evenmin|nee",
    # French
    r"pas|jamais|rien|aucune?s?|sans(?! (?:fil|serif)\b)|n['’](?=[aeéèêiouyh])",
    r"ne (?:peut|peuvent|doit|doivent|saurait|sauraient)|ne \w+ (?:plus|guère)",
    # Spanish
    r"nunca|jamás|ning[uú]n\w*|nada|tampoco|sin(?! (?:cables?|hilos)\b)",
    # Portuguese
    r"não|nao|nenhum\w*|nem|tampouco|sem(?! fios?\b)",
    # Italian; no "mai", which is a month elsewhere
    r"senza(?! fili\b)|nessun\w*|niente|nulla|neanche|nemmeno|neppure",
    # Italian, French; "non slip sole" of English says what the sole is
    r"non (?!\w*(?:able|ible|ive)\b|(?:chlorine|fade|glare|gmo|see)\b)\w*[aeioàèéìòù]|non c['’]è",
    r"non (?:compris|fourni|inclus|livré)\w*|non(?=\s*(?:[.,;:!?]|$))",
    # French, Spanish, Italian; one alone is nickel, or born
    r"n[ié]\b(?!-).+\bn[ié]",
    # Russian
    r"не|нет|без|ни|никогда|никак\w*|ничего|никто|нельзя|отсутству\w+",
    # Polish
    r"nie|nigdy|bez|brak|brakuje|żaden|żadn\w+|ani",
)
_UNSPACED = (
    # Chinese, Japanese: not of stainless steel, non-stick pans, wireless, "not only", "very" …
    r"(?<!差)不(?![锈銹鏽錆粘黏沾织織仅僅但只止光错錯同断斷论論管过過少妨凡])",
    r"[没沒]|[无無](?![线線论論限疑缝縫料地垢印比]|人[机機])|非(?![常洲凡遗遺])|未(?![来來])|勿|禁止",
    r"(?<![是能可与與])否(?![则則定])",
    # Japanese: not of "may", "must", "surely", "few"
    r"(?<!しれ)(?<!ければなら)(?<!違い)(?<!少)(?<!危)(?:ない|なかった)",
    r"(?<!しれ)(?<!ければなり)(?<!すみ)ません|(?<!もて)なし|(?<!だけ)(?:では|じゃ)なく",
    r"せず|できず|られず|ずに|対[応象]外|いいえ",
    # Korean: not of "certainly", "regardless", "not only", an inside, a nail
    r"않|(?<!틀림)(?<!상관)(?<!관계)없|못\s?[하합해한함했]|(?<![가-힣])(?<!뿐만 )아[니닙닌님]",
    r"(?<![가-힣])안\s?[되돼됩된됨됐하합해함]|지 (?:마[세십시]|말)|불가|[미불]포함|미지원|미제공",
)
_DENIES = re.compile(rf"\b(?:{'|'.join(_SPACED)})\b|n['’]t\b|{'|'.join(_UNSPACED)}", re.IGNORECASE)
_PORTUGUESE = re.compile(r"[ãõ]|\b(?:é|uma|nem|nenhuma?|sem)\b", re.IGNORECASE)
_IN_THE = re.compile(r"\bno\b", re.IGNORECASE)
"""What "no" is in Portuguese."""


def deny_alike(one: str, other: str) -> bool:
    """Whether both of two texts of one language deny something, or neither does."""
    texts = [unicodedata.normalize("NFC", text) for text in (one, other)]
    if any(map(_PORTUGUESE.search, texts)):
        texts = [_IN_THE.sub("", text) for text in texts]
    first, second = (_DENIES.search(text) is not None for text in texts)
    return first is second
