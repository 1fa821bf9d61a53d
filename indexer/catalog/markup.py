"""Text as shops export it → text as people read it: no tags, no entities, no control characters.

Nothing a shopper could search for is touched: case, punctuation, inch marks, fractions and model
numbers stay.
"""

from __future__ import annotations

import html
import re

from indexer.catalog.rejects import Reason, RowFault

_SURROGATE = re.compile(r"[\ud800-\udfff]")
# Control characters, soft hyphen, byte order mark, direction overrides. Joiners stay: scripts and
# emoji need them.
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\ufeff\u202a-\u202e\u2066-\u2069]"
)
# Only with the semicolon: `Black&gold` is no entity.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

_CELLS = "td|th"
_BLOCKS = (
    "address|article|aside|blockquote|br|caption|dd|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6]|head|header|"
    "hr|html|body|li|main|nav|ol|p|pre|section|table|tbody|tfoot|thead|tr|ul"
)
_INLINE = (
    "a|abbr|acronym|b|bdi|bdo|big|button|center|cite|code|col|colgroup|del|dfn|em|embed|font|i|iframe|img|input|ins|kbd|"
    "label|link|mark|meta|noscript|object|param|path|picture|q|s|samp|script|small|source|span|strike|strong|style|sub|"
    "sup|svg|tt|u|var|video|wbr"
)
# Known elements only: in `Shirt <M>` or `a <3 b` nothing is a tag. Possessive, so that broken
# markup costs linear time.
_TAG = re.compile(
    rf"</?(?:(?P<block>{_BLOCKS})|(?P<cell>{_CELLS})|{_INLINE})"
    r"""(?=[\s/>])(?:"[^"<]*+"|'[^'<]*+'|[^<>])*+>""",
    re.IGNORECASE,
)
_UNREAD = re.compile(r"<(script|style)\b[^<>]*>", re.IGNORECASE)


def clean_line(text: str, field: str = "") -> str:
    """One line: entities resolved, control characters gone, single spaces.

    Args:
        text: what to clean.
        field: whose text it is.

    Raises:
        RowFault: the text holds half a surrogate pair, which no encoding can write.
    """
    return _single_spaced(unescape(text) if "&" in text else text, field)


def clean_text(text: str, field: str = "") -> str:
    """Prose, its lines kept: tags stripped, blank lines dropped, each line as in `clean_line`.

    Raises:
        RowFault: as in `clean_line`.
    """
    if "<" in text:
        text = strip_tags(text)
    if "&" in text:
        plain = unescape(text)
        # Feeds escape whole descriptions: what turns out to be markup was meant as markup.
        text = strip_tags(plain) if "<" in plain and plain != text else plain
    lines = (_single_spaced(line, field) for line in text.splitlines())
    return "\n".join(filter(None, lines))


def strip_tags(text: str) -> str:
    """Text without HTML: blocks become line breaks, table cells spaces, inline tags nothing."""
    text = _without_comments(text)
    text = _without_unread(text)
    return _TAG.sub(_gap, text)


def unescape(text: str) -> str:
    """Text with HTML entities resolved, where they are closed by a semicolon."""
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)


def _gap(tag: re.Match[str]) -> str:
    if tag["block"]:
        return "\n"
    return " " if tag["cell"] else ""


def _without_comments(text: str) -> str:
    """Text without `<!-- … -->`; one that is never closed stays."""
    parts: list[str] = []
    start = 0
    while (opened := text.find("<!--", start)) >= 0:
        closed = text.find("-->", opened + 4)
        if closed < 0:
            break
        parts.append(text[start:opened])
        start = closed + 3
    return "".join([*parts, text[start:]])


def _without_unread(text: str) -> str:
    """Text without scripts and styles, contents included."""
    parts: list[str] = []
    start = 0
    while opened := _UNREAD.search(text, start):
        closing = re.compile(rf"</{opened[1]}\s*>", re.IGNORECASE).search(text, opened.end())
        if closing is None:
            break
        parts.append(text[start : opened.start()])
        start = closing.end()
    return "".join([*parts, text[start:]])


def _single_spaced(text: str, field: str) -> str:
    if text.isprintable() and "  " not in text:  # nearly every text, and twice as quick
        return text.strip(" ")
    text = " ".join(text.split())
    return text if text.isprintable() else _scrub(text, field)


def _scrub(text: str, field: str) -> str:
    """A line that is not all printable, mended."""
    if _SURROGATE.search(text):
        raise RowFault(Reason.BAD_ENCODING, f"not Unicode text: {text[:80]!r}", field)
    return " ".join(_UNPRINTABLE.sub("", text).split())
