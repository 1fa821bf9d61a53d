"""Product → passage: the one text that encoder and reranker read, to train, index and serve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.normal import comparable
from engine.types import AttributeValue, Product

PASSAGE_TEMPLATE = "passage/2"
"""Version of the text below. It enters every model's fingerprint: change it with what `passage`
gives."""

_PLACEHOLDERS = {"n/a", "na", "none", "null", "nil", "nan", "tbd", "unknown", "no description"}
"""What stands in a description for none."""


def passage(product: Product, *, fields_of: Product | None = None) -> str:
    """What a model reads of a product, as one line.

    The fields that tell products apart come first, because a model reads only the first tokens.
    Attributes are read only where nothing else describes the product: beside a description they
    take two thirds of the time and tell the encoder nothing (docs/log.md, 2026-11-28).

    Args:
        product: what is read.
        fields_of: the product that this one is an altered version of, if it is: the fields are
            read that are read of that.
    """
    attributes = () if _described(fields_of or product) else _attributes(product)
    return _line([*_texts(product), *attributes])


def whole_text(product: Product) -> str:
    """All that is written of a product, as one line; keyword search reads no less."""
    return _line([*_texts(product), *_attributes(product)])


def _described(product: Product) -> bool:
    """Whether description or bullet points say more than the title does."""
    texts = (product.description, *product.bullet_points)
    return any(_says_more(text.strip(" ."), product.title) for text in texts)


def _says_more(text: str, title: str) -> bool:
    if not any(map(str.isalnum, text)):
        return False
    longer = len(text) > max(len(title), *map(len, _PLACEHOLDERS))
    return longer or comparable(text) not in {comparable(title), *_PLACEHOLDERS}


def _line(parts: Iterable[str]) -> str:
    """The parts that say something, as sentences."""
    said = (part.strip(" .") for part in parts)
    return " ".join(". ".join(part for part in said if part).split())


def _texts(product: Product) -> list[str]:
    """All but the attributes. A brand or color that the title already names is not repeated."""
    named = product.title.casefold()
    head = [product.title]
    head += [part for part in (product.brand, product.color) if part.casefold() not in named]
    category = " > ".join(product.category)
    return [" ".join(head), category, *product.bullet_points, product.description]


def _attributes(product: Product) -> Iterator[str]:
    """Each attribute as `name: value`; a flag is its name if set, and left out if not."""
    for name, value in product.attributes.items():
        if value is True:
            yield name
        elif value is not False and (text := _value(value)):
            yield f"{name}: {text}"


def _value(value: AttributeValue) -> str:
    """A value as a shopper would write it: 12, not 12.0; a list with commas."""
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)
