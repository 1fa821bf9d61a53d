"""Turns types and models into catalog rows: variants, typed attributes, texts, identifiers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import product as every_combination
from random import Random
from typing import Any

from tests.demo_catalog.material import Brand, Model, ProductType, Value, value_of

SEED = 20261124

_NUMBER = r"(?<![\d.])(?<!\d-)(\d+-\d+/\d+|\d+/\d+|\d+(?:\.\d+)?)"
_UNITS = (
    (r"[ -]?fl oz\b", "volume_fl_oz"), (r"[ -]?oz\b", "weight_oz"), (r"[ -]?lb\b", "weight_lb"),
    (r"[ -]?qt\b", "capacity_qt"), (r"[ -]?L\b", "capacity_l"), (r"[ -]?ml\b", "volume_ml"),
    (r"[ -]?kg\b", "weight_kg"), (r"[ -]?g\b", "weight_g"), (r"[ -]?mg\b", "strength_mg"),
    (r"[ -]?W\b(?!-)", "wattage"), (r"[ -]?V\b", "voltage"), (r"[ -]?mAh\b", "battery_mah"),
    (r"[ -]?GB\b", "storage_gb"), (r"[ -]?TB\b", "storage_tb"), (r"[ -]?Hz\b", "refresh_hz"),
    (r"(?:[ -]?inch\b|[ -]in\b|in\b|\")(?!-\d)", "size_in"), (r"[ -]?ft\b", "length_ft"),
    (r"[ -]?mm\b", "size_mm"), (r"[ -]?cm\b", "size_cm"), (r"[ -]?lumens\b", "lumens"),
    (r"(?:[ -]Count| ct|-Pack| Pack| Rolls| Pairs| Tea Bags)\b", "pack_count"),
    (r"[ -]Piece\b", "pieces"), (r"[ -]Person\b", "persons"), (r"[ -]Quart\b", "capacity_qt"),
    (r"[ -]Gallon\b", "capacity_gal"), (r"[ -]Cup\b", "capacity_cups"),
)  # fmt: skip
_PLAIN = {
    "fl_oz": "fl oz", "oz": "oz", "lb": "lb", "qt": "qt", "l": "L", "ml": "ml", "kg": "kg",
    "g": "g", "mg": "mg", "in": "in", "ft": "ft", "mm": "mm", "cm": "cm", "gb": "GB", "tb": "TB",
    "hz": "Hz",
    "mah": "mAh", "gal": "gal", "months": "months", "years": "years", "hours": "hours", "m": "m",
    "min": "min", "w": "W", "f": "°F", "db": "dB", "btu": "BTU", "psi": "PSI", "sqft": "sq ft",
}  # fmt: skip
_ACRONYMS = {
    "bpa", "rfid", "hdmi", "usb", "led", "uv", "gps", "npk", "pvc", "hepa", "voc", "wifi", "ram",
    "dpi", "lan", "sls", "pfas",
}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One row of the catalog and where it came from."""

    row: dict[str, Any]
    type: ProductType
    model: Model


def build(types: list[ProductType], brands: dict[str, Brand]) -> list[Item]:
    """Every variant of every model, in the order of the material."""
    return [item for of in types for model in of.models for item in _variants(of, model, brands)]


def _variants(of: ProductType, model: Model, brands: dict[str, Brand]) -> Iterator[Item]:
    rng = Random(f"{SEED}:{model.key}")
    shared = _shared(of, model, brands.get(model.brand), rng)
    choices = list(every_combination(*(axis.values for axis in model.axes)))
    for number, choice in enumerate(choices, start=1):
        key = f"{model.key}.{number}"
        chosen = {axis.name: value for axis, (value, _) in zip(model.axes, choice, strict=True)}
        price = round(model.price + sum(delta for _, delta in choice), 2)
        row = {**_identity(key), "title": _title(model.title, chosen)} | shared
        attributes = _attributes(row["title"], model, chosen)
        row |= {"color": chosen.get("color", model.attributes.get("color", "")), "price": price}
        row |= {"currency": "USD", **_standing(key, shared["created_at"])}
        row |= {"group_id": f"G-{_digest(model.key)[:6]}" if len(choices) > 1 else ""}
        row["attributes"] = {
            name: attributes[name] for name in sorted(attributes) if name != "color"
        }
        kept = {name: value for name, value in row.items() if value not in ("", [], {}, None)}
        yield Item(kept, of, model)


def _shared(of: ProductType, model: Model, brand: Brand | None, rng: Random) -> dict[str, Any]:
    """What all variants of a model have in common."""
    description, bullets = _texts(of, model, brand, rng)
    born = datetime(2022, 3, 1, 8, tzinfo=UTC) + timedelta(minutes=rng.randrange(60 * 24 * 1270))
    return {
        "description": description,
        "bullet_points": bullets,
        "brand": model.brand,
        "category": list(of.category),
        "created_at": born.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _texts(
    of: ProductType, model: Model, brand: Brand | None, rng: Random
) -> tuple[str, list[str]]:
    """A description and bullet points: some long, some terse, a few missing."""
    pool = [
        of.sentences[i] for i in sorted(_some(len(of.sentences), rng.choice((1, 2, 3, 3, 4)), rng))
    ]
    voice = [rng.choice(brand.voice)] if brand and brand.voice else []
    layout = rng.choices(range(6), weights=(14, 26, 22, 16, 16, 6))[0]
    parts = (
        [model.text],
        [model.text, *pool],
        [*pool[:1], model.text, *pool[1:]],
        [model.text, *pool[:1], *voice],
        [*pool, model.text, *voice],
        [],
    )[layout]
    own = [of.bullets[i] for i in sorted(_some(len(of.bullets), rng.randint(1, 3), rng))]
    bullets = [*model.bullets, *own, *_spec_bullets(model, rng)]
    if layout == 5 and len(bullets) < 3:
        return model.text, bullets
    return " ".join(parts), [] if layout < 2 and rng.random() < 0.3 else bullets


def _some(size: int, wanted: int, rng: Random) -> list[int]:
    return rng.sample(range(size), min(size, wanted))


def _spec_bullets(model: Model, rng: Random) -> list[str]:
    """Up to four attributes said in words, for most of the models."""
    if rng.random() < 0.15:
        return []
    named = [(n, v) for n, v in model.attributes.items() if n not in {"color", "model_number"}]
    return [_said(*named[i]) for i in sorted(_some(len(named), rng.randint(1, 4), rng))]


def _said(name: str, value: Value) -> str:
    for suffix, unit in _PLAIN.items():
        if name.endswith(f"_{suffix}") and not isinstance(value, bool):
            return f"{_label(name.removesuffix(f'_{suffix}'))}: {value} {unit}"
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
    if isinstance(text, list):
        text = ", ".join(text)
    return f"{_label(name)}: {text}"


def _label(name: str) -> str:
    """`bpa_free` as "BPA free"."""
    words = name.replace("_", " ").capitalize().split()
    return " ".join(word.upper() if word.lower() in _ACRONYMS else word for word in words)


def _title(template: str, chosen: dict[str, str]) -> str:
    title = template
    for name, value in chosen.items():
        mark = f"{{{name}}}"
        title = title.replace(mark, value) if mark in title else f"{title}, {value}"
    return title


def _attributes(title: str, model: Model, chosen: dict[str, str]) -> dict[str, Value]:
    """The model's attributes, the variant's, and the measures that the title names."""
    attributes = dict(model.attributes) | {name: value_of(text) for name, text in chosen.items()}
    known = {value for value in attributes.values() if type(value) in {int, float}}
    for name, number in measures(title):
        if number not in known:
            attributes.setdefault(name, number)
    return attributes


def measures(title: str) -> list[tuple[str, int | float]]:
    """The numbers with a unit in a title, with their attribute: "1.7 L" is `capacity_l` 1.7."""
    found: list[tuple[str, int | float]] = []
    rug = re.search(r"(\d+)'\s?x\s?(\d+)'", title)
    if rug:
        found += [("width_ft", int(rug[1])), ("length_ft", int(rug[2]))]
    spf = re.search(r"SPF (\d+)", title)
    if spf:
        found.append(("spf", int(spf[1])))
    for unit, name in _UNITS:
        found += [(name, _number(match[1])) for match in re.finditer(_NUMBER + unit, title)]
    return found


def _number(text: str) -> int | float:
    value = float(sum(Fraction(part) for part in text.split("-")))  # "7-1/4" is 7.25
    return int(value) if value.is_integer() and "." not in text else value


def _identity(key: str) -> dict[str, str]:
    digest = _digest(key)
    slug, model, variant = key.split(".")
    body = f"2{int(digest[:14], 16) % 10**11:011d}"
    initials = "".join(word[:3] for word in slug.split("-"))[:6].upper()
    sku = f"{initials}-{int(digest[14:19], 16) % 10**4:04d}-{model}{int(variant):02d}"
    return {"id": f"DG{digest[20:27].upper()}", "sku": sku, "gtin": body + check_digit(body)}


def check_digit(body: str) -> str:
    """The GS1 check digit of twelve digits (weights 1 and 3, from the left)."""
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(body))
    return str(-total % 10)


def _standing(key: str, created_at: str) -> dict[str, Any]:
    """Rating, how many gave one, and stock. New products have no ratings yet."""
    rng = Random(f"{SEED}:{key}:standing")
    in_stock = rng.random() < 0.94
    if created_at > "2025-06" and rng.random() < 0.3:
        return {"in_stock": in_stock}
    rating = round(min(5.0, max(2.6, rng.gauss(4.25, 0.33))), 1)
    return {
        "rating": rating,
        "rating_count": int(rng.lognormvariate(4.2, 1.4)) + 1,
        "in_stock": in_stock,
    }


def _digest(key: str) -> str:
    return hashlib.sha256(f"{SEED}:{key}".encode()).hexdigest()
