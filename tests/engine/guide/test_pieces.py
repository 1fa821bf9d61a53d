from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.guide.pieces import MOST_CHARS, Piece, pieces_of
from engine.types import Product

TEXTS = st.text(max_size=2_000)


def texts_of(product: Product, piece: Piece) -> str:
    """The text in which the piece stands."""
    if piece.field == "bullet_points":
        assert piece.index is not None
        return product.bullet_points[piece.index]
    return str(getattr(product, piece.field))


@given(TEXTS, st.lists(TEXTS, max_size=4), TEXTS)
def test_prose_is_cited_letter_for_letter(title: str, bullets: list[str], description: str) -> None:
    product = Product("1", title, description=description, bullet_points=tuple(bullets))
    for piece in pieces_of(product):
        assert piece.start is not None
        assert len(piece.text) <= MOST_CHARS
        assert texts_of(product, piece)[piece.start : piece.end] == piece.text


@given(TEXTS)
def test_no_sentence_is_lost(description: str) -> None:
    product = Product("1", "", description=description)
    cited = [piece for piece in pieces_of(product) if piece.field == "description"]
    if all(len(piece.text) < MOST_CHARS for piece in cited):
        assert "".join("".join(piece.text for piece in cited).split()) == "".join(
            description.split()
        )


def test_fields_and_attributes_are_statements() -> None:
    product = Product(
        "1", "Kettle", description="Boils. Quietly!\nShuts off at 2.5 l.", brand="Öko",
        category=("Kitchen", "Kettles"), price=30.0, currency="EUR", rating=4.5, in_stock=False,
        attributes={"lid_type": "hinged", "cordless": False, "sizes": ["1 l", "2 l"], "w": 900},
    )  # fmt: skip
    pieces = pieces_of(product)
    assert [piece.text for piece in pieces] == [
        "Kettle", "brand: Öko", "category: Kitchen > Kettles", "price: 30 EUR", "rating: 4.5",
        "in stock: no", "lid type: hinged", "cordless: no", "sizes: 1 l, 2 l", "w: 900", "Boils.",
        "Quietly!", "Shuts off at 2.5 l.",
    ]  # fmt: skip
    assert [piece.denied for piece in pieces if piece.denied] == ["cordless"]
    assert pieces[6].field == "attributes.lid_type"
