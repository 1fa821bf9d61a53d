"""Text → terms: the one analyzer of the lexical index, for products and for queries alike.

What it does, in order:

* **Folding.** Unicode NFKD and case folding; accents go (é → e, й → и), width forms and ligatures
  become plain, fractions are spelt out (½ → 1/2). Kana and Hangul stay composed.
* **Quantities.** A number with its unit is one term in every spelling: `12in`, `12 in`, `12-inch`
  and `12"` give `12`, `12in` (`a` and `m` only where they touch it); `5'x7'`, `5x7` and `5 x 7 ft`
  share `5`, `7`, `5x7`; `pack of 3` is `3-pack`. Decimals and fractions hold together: `2.5`,
  `1/2`, `1-1/2`.
* **Compounds.** Hyphens and other joints are written in and left out at will, so a compound gives
  its whole and its parts: `WH-1000XM4` → `wh1000xm4`, `wh`, `1000xm4`; `iphone12` → `iphone12`,
  `iphone`, `12`. `C++` and `C#` are terms.
* **Stemming.** Words by Snowball's English stemmer (Porter2), which leaves other alphabets alone;
  words with digits are never stemmed. `w/o` is `without`.
* **Scripts without spaces** (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese): every character
  and every pair of neighbours is a term, so any part of a word is found and pairs decide the
  ranking (as Lucene's CJKAnalyzer, which keeps pairs only). Korean has spaces but writes compounds
  and particles together, so it is treated alike. No dictionary: a word list cuts the same words
  differently in a query and in a title.
* **Other scripts** (Cyrillic, Greek, Arabic, Hebrew, Devanagari …) are split at spaces and
  punctuation, folded, not stemmed. Arabic and Hebrew lose vowel points and the tatweel.
* Symbols, emoji, control characters and lone surrogates part words and are not found.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import Stemmer

ANALYZER = "2"
"""Version of the terms below: raise it with any change to what `analyze` returns."""

_MAX_TERM = 64  # characters; longer words are junk, and are cut alike in product and query
_MAX_CACHED = 32  # characters of a token

_UNIT_SPELLINGS = {
    "in": 'in inch inches "',
    "ft": "ft foot feet '",
    "yd": "yd yds yard yards",
    "mm": "mm millimeter millimeters millimetre millimetres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "m": "m meter meters metre metres",
    "oz": "oz ounce ounces",
    "lb": "lb lbs pound pounds",
    "g": "g gram grams",
    "kg": "kg kgs kilogram kilograms",
    "mg": "mg milligram milligrams",
    "mcg": "mcg microgram micrograms",
    "ml": "ml milliliter milliliters millilitre millilitres",
    "l": "l liter liters litre litres",
    "gal": "gal gallon gallons",
    "qt": "qt quart quarts",
    "w": "w watt watts",
    "v": "v volt volts",
    "a": "a amp amps",
    "mah": "mah",
    "hz": "hz",
    "mhz": "mhz",
    "ghz": "ghz",
    "kb": "kb",
    "mb": "mb",
    "gb": "gb",
    "tb": "tb",
    "mp": "mp megapixel megapixels",
    "pack": "pack packs pk pks",
    "ct": "ct count",
    "pc": "pc pcs piece pieces",
}
_UNITS = {spelling: unit for unit, line in _UNIT_SPELLINGS.items() for spelling in line.split()}
_UNITS |= dict.fromkeys(("fl oz", "fluid ounce", "fluid ounces"), "oz")

_FUNCTION_WORDS = """
a an and are as at be but by for from if in into is it its of on or that the their then there these
they this to was will with you your
"""
STOPWORDS = frozenset(_FUNCTION_WORDS.split())
"""Terms that say nothing beside others; indexed, so that "the who" can be found."""

_FOLD = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys("“”„″＂", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        **{char: f" {unicodedata.normalize('NFKD', char)}" for char in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"},
        "×": "x",
        "\u00ad": None,  # soft hyphen
        "\u0640": None,  # tatweel
    }
)
# Accents of Latin, Greek and Cyrillic, points of Hebrew and Arabic; Indic vowel signs stay.
_MARKS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u064b-\u065f\u0670]+")

# Thai, Lao, Burmese, Khmer, kana, Han (all planes), Hangul.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa"
    "\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
_LETTER = rf"(?:[^\W_{_UNSPACED}]|[\u0900-\u0dff])"
_NUMBER = r"(?:\d++[ -]\d++/\d++|\d++/\d++|\d++(?:,\d{3}(?!\d))*+(?:\.\d++)*+|\.\d++)"
_LONG_UNITS = "|".join(sorted((unit for unit in _UNITS if len(unit) > 1), key=len, reverse=True))
_SHORT_UNITS = "".join(unit for unit in _UNITS if len(unit) == 1 and unit.isalpha())
_SPACED_UNITS = "glvw"  # "5 a" and "3 m" seldom are amperes or metres
_END = r"(?![^\W_])"
_SHORT = rf"(?:-?[{_SHORT_UNITS}]| [{_SPACED_UNITS}]){_END}"
_UNIT = rf"""(?:[ -]?(?:{_LONG_UNITS}){_END}(?![ -]\d)|{_SHORT}|"|'(?![a-wyz]))"""
_MEASURE = re.compile(rf"({_NUMBER})({_UNIT})?+")
_LETTERS_THEN_DIGITS = re.compile(r"([a-z]{2,})(\d.*)")

_local = threading.local()


def fold(text: str) -> str:
    """The text without case, accents and typographic variants."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.translate(_FOLD)).casefold()
    bare = _MARKS.sub("", decomposed.replace("\u2044", "/"))
    return unicodedata.normalize("NFC", bare)


def _stem(word: str) -> str:
    """The English stem of a word of letters; one stemmer a thread, since Snowball's keep state."""
    if not word.isalpha():
        return word
    if not hasattr(_local, "stemmer"):
        _local.stemmer = Stemmer.Stemmer("english", 0)
    stem: str = _local.stemmer.stemWord(word)
    return stem


def _number(text: str) -> str:
    """One spelling of a number: 1,000 → 1000, 2.50 → 2.5, .5 → 0.5, 1 1/2 → 1-1/2."""
    text = text.replace(",", "").replace(" ", "-")
    if text.count(".") != 1:
        return text
    whole, decimals = text.split(".")
    decimals = decimals.rstrip("0")
    return f"{whole or '0'}.{decimals}" if decimals else whole or "0"


def _quantity(token: str) -> list[str]:
    """A number, a number with its unit, or sizes joined by x: 5'x7' → 5, 7, 5ft, 7ft, 5x7."""
    numbers: list[str] = []
    measures: list[str] = []
    for number, unit in _MEASURE.findall(token):
        numbers.append(_number(number))
        if unit:
            measures.append(numbers[-1] + _UNITS[unit.strip(" -")])
    pairs = [f"{first}x{second}" for first, second in pairwise(numbers)]
    return [*numbers, *measures, *pairs]


def _several_in_one(token: str) -> list[str]:
    """3 in 1 → what the compound 3-in-1 gives."""
    return _compound(token.replace(" ", "-"))


def _pack_of(token: str) -> list[str]:
    """What 3-pack gives, and the word: pack of 3 → pack, 3, 3pack."""
    container, _, number = token.split(" ")
    return [_stem(container), number, f"{number}pack"]


def _symbolic(token: str) -> list[str]:
    """C++, C#; w/ and w/o are spelt out."""
    return [{"w/": "with", "w/o": "without"}.get(token, token)]


def _compound(token: str) -> list[str]:
    """A word, or a compound's whole and parts: t-shirt → tshirt, t, shirt."""
    if token.isalpha():
        return [_stem(token)]
    parts = [part for part in re.split(r"[-&'_.]", token.removesuffix("'s")) if part]
    if len(parts) > 1:
        return [_stem("".join(parts)), *map(_stem, parts)]
    split = _LETTERS_THEN_DIGITS.fullmatch(parts[0])
    return [parts[0], _stem(split[1]), split[2]] if split else [_stem(parts[0])]


def _grams(run: str) -> list[str]:
    """Every character and every pair of neighbours: 蓝牙 → 蓝, 牙, 蓝牙."""
    return [*run, *(first + second for first, second in pairwise(run))]


_Kind = tuple[str, Callable[[str], list[str]]]
# What a token may be, tried in this order, and the terms it gives.
_NUMBERS: list[_Kind] = [
    (rf"{_NUMBER}{_UNIT}?+(?: ?x ?{_NUMBER}{_UNIT}?+){{1,3}}+{_END}", _quantity),
    (rf"\d++ in \d++{_END}", _several_in_one),
    (rf"{_NUMBER}{_UNIT}", _quantity),
    (rf"{_NUMBER}(?!{_LETTER}|[-&][^\W\d_])", _quantity),
]
_WORDS: list[_Kind] = [
    (rf"(?:pack|set|box|case) of \d++{_END}", _pack_of),
    (rf"[a-z](?:\+\+|\#){_END}|w/o?{_END}", _symbolic),
    (rf"{_LETTER}++(?:(?:[-&'_]|\.(?=\d)){_LETTER}++)*+", _compound),
    (rf"[{_UNSPACED}]++", _grams),
]
_PATTERNS = [(re.compile(pattern), expand) for pattern, expand in _NUMBERS + _WORDS]
_TOKEN = re.compile(
    # Nine tokens in ten are plain words: tried first, and numbers only at a digit, since this
    # expression takes most of the time of indexing (85 instead of 203 µs a product).
    r"[a-z]{2,}+(?![^\W_]|[-&'_][^\W_]|\.\d| of \d)"
    rf"|(?=[\d.])(?:{'|'.join(pattern for pattern, _ in _NUMBERS)})"
    rf"|{'|'.join(pattern for pattern, _ in _WORDS)}"
)


def _expand(token: str) -> tuple[str, ...]:
    """The terms of one token of `_TOKEN`."""
    expand = next(expand for pattern, expand in _PATTERNS if pattern.fullmatch(token))
    return tuple(term[:_MAX_TERM] for term in expand(token))


_remembered = lru_cache(maxsize=65_536)(_expand)


def count_terms(text: str) -> int:
    """How many different terms a text has, function words left out."""
    return len({term for term in analyze(text) if term not in STOPWORDS})


def analyze(text: str) -> list[str]:
    """The terms of a text, in order, repeats kept. Never raises, whatever the string holds."""
    return [
        term
        for token in _TOKEN.findall(fold(text))
        # Strangers' queries fill the memory: long tokens are kept out of it, and so are unspaced
        # runs, which are seldom met twice and give two terms a character.
        for term in (
            _remembered(token)
            if len(token) <= _MAX_CACHED and token < _UNSPACED[0]
            else _expand(token)
        )
    ]
