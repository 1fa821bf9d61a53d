"""A small shop of ours: enough products to tell a good answer from a bad one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from engine.types import Product

PRODUCTS: tuple[Product, ...] = (
    Product(
        id="k1", title="Emberly Gooseneck Electric Kettle 1.0 L", brand="Emberly", color="black",
        category=("Kitchen", "Kettles"), price=69.0, currency="USD", in_stock=True, sku="EM-GK10",
        description="Holds any temperature from 60 to 100 °C for slow pour-over coffee.",
        attributes={"capacity_l": 1.0, "watts": 1200}, rating=4.7, rating_count=210,
    ),
    Product(
        id="k2", title="Emberly Stovetop Whistling Kettle", brand="Emberly", color="red",
        category=("Kitchen", "Kettles"), price=29.5, currency="USD", in_stock=False,
        description="Enamelled steel with a whistle you hear in the next room.",
    ),
    Product(
        id="m1", title="Desk Mug Warmer with Auto Shut-Off", brand="Hearthside", color="white",
        category=("Kitchen", "Coffee"), price=24.99, currency="USD", in_stock=True,
        description="Keeps a cup of coffee or tea warm while you work.", sku="77001",
    ),
    Product(
        id="m2", title="Vacuum Insulated Travel Mug 12 oz", brand="Norrland", color="green",
        category=("Kitchen", "Coffee"), price=21.0, currency="USD", in_stock=True,
        gtin="2000000000015",
        description="Hot for six hours, cold for twelve; fits a car cup holder.",
    ),
    Product(
        id="h1", title="Aurio WH-900 Wireless Noise Cancelling Headphones",
        brand="Aurio", color="black", category=("Electronics", "Headphones"), price=199.0,
        currency="USD", in_stock=True,
        description="Over-ear, thirty hours of battery, multipoint Bluetooth.",
        attributes={"wireless": True, "battery_h": 30},
    ),
    Product(
        id="h2", title="Aurio Sport Wired Earphones", brand="Aurio", color="blue",
        category=("Electronics", "Headphones"), price=19.0, currency="USD", in_stock=True,
        description="Sweat-proof in-ear earphones with a tangle-free cable.",
        attributes={"wireless": False},
    ),
    Product(
        id="t1", title="Ridgeline 2-Person Tent", brand="Ridgeline", color="green",
        category=("Outdoor", "Tents"), price=149.0, currency="USD", in_stock=True,
        description="Freestanding three-season tent, 2.1 kg, taped seams.",
    ),
    Product(
        id="t2", title="Ridgeline Tent Pegs, 10-pack", brand="Ridgeline",
        category=("Outdoor", "Tents"), price=12.0, currency="USD", in_stock=True,
        description="Seven-inch aluminium pegs that hold in sand and soil.",
    ),
    Product(
        id="b1", title="Elastic Belt without Buckle", brand="Loomwell", color="brown",
        category=("Clothing", "Belts"), price=18.0, currency="USD", in_stock=True, group_id="belt",
        description="A stretch belt that lies flat under a shirt: no buckle at all.",
    ),
    Product(
        id="b2", title="Full-Grain Leather Belt with Brass Buckle", brand="Loomwell", color="brown",
        category=("Clothing", "Belts"), price=42.0, currency="USD", in_stock=True, group_id="belt",
        description="Vegetable-tanned leather that darkens with the years.",
    ),
    Product(
        id="c1", title="真空保温杯 500ml 不锈钢", brand="清泉",
        category=("Kitchen", "Coffee"), price=25.0, currency="USD", in_stock=True,
        description="双层真空不锈钢保温杯，保温十二小时。",
    ),
    Product(id="z1", title="Gift Card"),
)  # fmt: skip


def write_catalog(path: Path, products: Sequence[Product] = PRODUCTS) -> Path:
    """The products as JSON Lines."""
    lines = (json.dumps(product.to_dict(), ensure_ascii=False) for product in products)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
