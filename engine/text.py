"""Product → passage: the one text that encoder and reranker read, to train, index and serve."""

from __future__ import annotations

from collections.abc import Iterator

from engine.types import AttributeValue, Product

PASSAGE_TEMPLATE = "passage/1"
"""Version of the text below. It enters every model's fingerprint: change it with `passage`."""


def passage(product: Product) -> str:
    """What a model reads of a product, as one line.

    The fields that tell products apart come first, because a model reads only the first tokens.
    A brand or color that the title already names is not repeated.
    """
    named = product.title.casefold()
    head = [product.title]
    head += [part for part in (product.brand, product.color) if part.casefold() not in named]
    parts = [" ".join(head), " > ".join(product.category), *product.bullet_points]
    parts += [product.description, *_attributes(product)]
    return " ".join(". ".join(part.strip(" .") for part in parts if part.strip(" .")).split())


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
