"""Training lists that nobody judged: queries made of products, a teacher's lists, hard negatives.

Everything is drawn by seed: the same input gives the same lists. Queries kept for measuring (see
`held_out`) enter nothing that is made here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random

from engine.analysis import STOPWORDS
from engine.listing import View
from engine.normal import comparable
from engine.search import SearchEngine
from engine.text import passage
from engine.types import Hit, Product, Relevance, SearchResult, Stage
from engine.understand import clean
from indexer.train.lists import Candidate, Origin, QueryList

MINED_DEPTH = 30
"""Places of each stage's ranking that hard negatives are taken from."""

PERCENTAGE = 0.95
"""Above this part of the positive's cosine, what nobody judged is taken for a false negative."""

MINED_WEIGHT = 0.3
"""How far it is trusted that what nobody judged does not fit."""

BELOW_LAST = 0.5
"""How far below the last of the ranking the teacher puts a product it did not find."""

_SHORTEST_RANKING = 20
_WHOLE = View(ranked=True)
_BATCH = 64  # queries searched at a time; their hits hold whole products
_BARREN_PASSES = 5  # over all products, after which no further pseudo-query is to be had
_TITLE_WORDS = 9  # what comes later in a title is seldom searched for
_SHORTEST, _LONGEST = 2, 70  # characters of a pseudo-query
_WORD = re.compile(r"[^\W_](?:[\w'./%&-]*[^\W_])?%?")


def held_out(queries: Iterable[str]) -> frozenset[str]:
    """The form in which `without` wants the queries that are kept for measuring."""
    return frozenset(map(comparable, queries))


def exclude(lists: Iterable[QueryList], without: Collection[str]) -> list[QueryList]:
    """The lists whose query is none of these, given by `held_out`."""
    return [entry for entry in lists if comparable(entry.query) not in without]


def pseudo_queries(
    products: Sequence[Product],
    count: int,
    seed: int,
    *,
    without: Collection[str] = frozenset(),
) -> list[str]:
    """At most `count` different queries as shoppers type them, made of what products are called.

    Two to four neighbouring words of the title's beginning; the brand with words of the title; the
    brand, the color or an attribute's value with the narrowest category. Lower case.
    """
    random = _random(seed, "pseudo-queries")
    found: dict[str, None] = {}
    barren = 0
    while barren < _BARREN_PASSES:
        before = len(found)
        for product in random.sample(products, len(products)):
            if len(found) >= count:
                return list(found)
            query = _pseudo_query(product, random)
            if _SHORTEST <= len(query) <= _LONGEST and query not in without:
                found[query] = None
        barren = 0 if len(found) > before else barren + 1
    return list(found)


def _pseudo_query(product: Product, random: Random) -> str:
    """One query that this product could answer; empty where the words drawn make none."""
    title = _words(product.title)[:_TITLE_WORDS]
    shelf = " ".join(_words(product.category[-1])) if product.category else ""
    brand, color = " ".join(_words(product.brand)), " ".join(_words(product.color))
    others = [word for word in title if word not in brand.split()]
    shapes = [_run(title, random, 2, 4)]
    shapes += [f"{brand} {_run(others, random, 1, 3)}"] if brand else []
    if shelf:
        values = _values(product)
        starts = [brand, color, random.choice(values) if values else ""]
        shapes += [f"{start} {shelf}" for start in starts if start]
    return comparable(" ".join(dict.fromkeys(random.choice(shapes).split())))


def _words(text: str) -> list[str]:
    """The words as typed into a search box, without the marks around them."""
    return [word.casefold() for word in _WORD.findall(text)]


def _run(words: Sequence[str], random: Random, least: int, most: int) -> str:
    """Neighbouring words, none of them empty of meaning at either end."""
    size = min(random.randint(least, most), len(words))
    start = random.randint(0, len(words) - size)
    run = list(words[start : start + size])
    while run and run[0] in STOPWORDS:
        del run[0]
    while run and run[-1] in STOPWORDS:
        del run[-1]
    return " ".join(run)


def _values(product: Product) -> list[str]:
    """The short texts among the attributes, and the names of what is set."""
    values: list[str] = []
    for name, value in product.attributes.items():
        if value is True:
            values.append(name.replace("_", " "))
        elif isinstance(value, str | list):
            values += [value] if isinstance(value, str) else value
    texts = (" ".join(_words(value)) for value in values if len(value) <= 30)
    return [text for text in texts if text and any(map(str.isalpha, text)) and text.count(" ") < 3]


def teach(
    engine: SearchEngine,
    catalog: str,
    queries: Iterable[str],
    *,
    size: int = 8,
    depth: int = 60,
    seed: int,
    without: Collection[str] = frozenset(),
) -> list[QueryList]:
    """Lists graded by the fused score of keyword and vector search alone.

    Of each query's ranking, half the list is drawn from the first eight places and the rest from
    those to `depth`, in the order of the ranking; the last is a product drawn from outside them,
    which the teacher puts `BELOW_LAST` under place `depth`. Queries that find fewer than 20
    products teach too little and are left out, and so are those that name one product (SKU, id).

    Args:
        engine: over the catalog.
        catalog: its name.
        queries: real ones, or `pseudo_queries`; a repeated one is asked once.
        size: candidates of a list.
        depth: places of the ranking drawn from.
        seed: of the draw.
        without: queries not to ask, by `held_out`.
    """
    lists: list[QueryList] = []
    for result in _search(engine, _askable(engine, queries, without), Stage.FUSED, depth):
        if result.query.exact_rows or len(result.hits) < _SHORTEST_RANKING:
            continue
        random = _random(seed, result.query.text)
        hits = _draw(result.hits, size - 1, random)
        taught = [
            _candidate(hit.product, Origin.TEACHER, Stage.FUSED, teacher=hit.score) for hit in hits
        ]
        if outside := _outside(engine, {hit.product.id for hit in result.hits}, random):
            below = result.hits[-1].score - BELOW_LAST
            taught.append(_candidate(outside, Origin.TEACHER, "random", teacher=below))
        lists.append(QueryList(result.query.text, catalog, tuple(taught), classes=False))
    return lists


def _askable(engine: SearchEngine, queries: Iterable[str], without: Collection[str]) -> list[str]:
    """The queries that can be searched and are not held out, each once."""
    texts: dict[str, str] = {}
    for text in map(clean, queries):
        texts.setdefault(comparable(text), text)
    longest = engine.settings.max_query_chars
    return [
        text
        for form, text in texts.items()
        if form and form not in without and len(text) <= longest
    ]


def _search(
    engine: SearchEngine, queries: Sequence[str], stage: Stage, depth: int
) -> Iterable[SearchResult]:
    for start in range(0, len(queries), _BATCH):
        yield from engine.search_many(
            queries[start : start + _BATCH], k=depth, stage=stage, view=_WHOLE
        )


def _draw(hits: Sequence[Hit], size: int, random: Random) -> list[Hit]:
    """Half of them from the first eight places, the rest from below."""
    head, tail = range(min(8, len(hits))), range(8, len(hits))
    upper = random.sample(head, min((size + 1) // 2, len(head)))
    lower = random.sample(tail, min(size - len(upper), len(tail)))
    return [hits[place] for place in sorted(upper + lower)]


def _outside(engine: SearchEngine, inside: Collection[str], random: Random) -> Product | None:
    """A product the ranking does not hold; None where it holds nearly all there are."""
    for _ in range(20):
        row = random.randrange(len(engine.snapshot))
        (product,) = engine.snapshot.products.fetch([row])
        if product.id not in inside:
            return product
    return None


def hard_negatives(
    engine: SearchEngine,
    lists: Sequence[QueryList],
    *,
    per_query: int = 6,
    stages: Sequence[Stage] = (Stage.LEXICAL, Stage.DENSE, Stage.FUSED),
    seed: int,
    weight: float = MINED_WEIGHT,
    without: Collection[str] = frozenset(),
) -> list[QueryList]:
    """The lists, each with up to `per_query` products that a stage ranks high and nobody judged.

    They are drawn from the first 30 places of the stages by turns, as irrelevant, with the stage
    as their source. False negatives are filtered out: products as near to the query as the best
    Exact, cosine above 95% of its (TopK-PercPos of NV-Retriever, Moreira et al. 2024; where none
    is Exact, the best Substitute counts), and those titled like a product of the list. A list
    without either, or without such a product in this catalog, comes back as it was: nothing tells
    what of its ranking fits.

    Args:
        engine: over the catalog of the lists.
        lists: judged ones.
        per_query: products to add.
        stages: whose mistakes to learn from; the reranker's too, where there is one.
        seed: of the draw.
        weight: of each label added.
        without: queries to leave out altogether, by `held_out`.

    Raises:
        QueryError: the query of a list is longer than the engine searches.
    """
    kept = exclude(lists, without)
    mined: list[QueryList] = []
    for start in range(0, len(kept), _BATCH):
        batch = kept[start : start + _BATCH]
        texts = [entry.query for entry in batch]
        rankings = {
            stage: engine.search_many(texts, k=MINED_DEPTH, stage=stage, view=_WHOLE)
            for stage in stages
        }
        pools = [
            {
                stage: [hit.product.id for hit in found[place].hits]
                for stage, found in rankings.items()
            }
            for place in range(len(batch))
        ]
        compared = _compare(engine, batch, pools)
        for entry, pool, hits in zip(batch, pools, compared, strict=True):
            safe = _safe(entry, hits)
            drawn = _by_turns(pool, safe, per_query, _random(seed, entry.query))
            added = [
                _candidate(safe[name], Origin.MINED, stage, grade=0.0, weight=weight)
                for name, stage in drawn.items()
            ]
            mined.append(replace(entry, candidates=(*entry.candidates, *added)))
    return mined


def _compare(
    engine: SearchEngine,
    batch: Sequence[QueryList],
    pools: Sequence[Mapping[Stage, Sequence[str]]],
) -> list[tuple[Hit, ...]]:
    """Every product of each list and each pool, with its cosine to the query."""
    ids = [
        [candidate.product_id for candidate in entry.candidates]
        + [product_id for ranked in pool.values() for product_id in ranked]
        for entry, pool in zip(batch, pools, strict=True)
    ]
    texts = [entry.query for entry in batch]
    most = max(map(len, ids), default=0)
    results = engine.search_many(texts, k=most, stage=Stage.DENSE, candidates=ids)
    return [result.hits for result in results]


def _safe(entry: QueryList, hits: Sequence[Hit]) -> dict[str, Product]:
    """The products by id that nobody judged and that are no false negatives, as far as we see."""
    cosines = {hit.product.id: hit.stages[Stage.DENSE].score for hit in hits}
    judged = {candidate.product_id: candidate.grade for candidate in entry.candidates}
    positives = [
        (grade, cosines[product_id])
        for product_id, grade in judged.items()
        if grade is not None and grade >= Relevance.SUBSTITUTE and product_id in cosines
    ]
    if not positives:
        return {}
    best = max(grade for grade, _ in positives)
    limit = PERCENTAGE * max(cosine for grade, cosine in positives if grade == best)
    titles = {comparable(hit.product.title) for hit in hits if hit.product.id in judged}
    return {
        hit.product.id: hit.product
        for hit in hits
        if hit.product.id not in judged
        and cosines[hit.product.id] <= limit
        and comparable(hit.product.title) not in titles
    }


def _by_turns(
    pool: Mapping[Stage, Sequence[str]], safe: Collection[str], count: int, random: Random
) -> dict[str, Stage]:
    """Up to `count` safe products, drawn from one stage after another, with who drew each."""
    waiting = {stage: [name for name in ranked if name in safe] for stage, ranked in pool.items()}
    for names in waiting.values():
        random.shuffle(names)
    drawn: dict[str, Stage] = {}
    while any(waiting.values()):
        for stage, names in waiting.items():
            if len(drawn) >= count:
                return drawn
            if name := next((name for name in names if name not in drawn), None):
                drawn[name] = stage
            waiting[stage] = [name for name in names if name not in drawn]
    return drawn


def strangers(lists: Sequence[QueryList], *, seed: int, count: int = 2) -> list[QueryList]:
    """The lists with products of other lists of their catalog beside, as negatives nobody judged.

    Every other one is cut to one to four words of its beginning: what is hardly described fits no
    query by that.

    Args:
        lists: those of one candidate stay as they are.
        seed: of the draw.
        count: how many are added to each.
    """
    others: dict[str, list[Candidate]] = {}
    for entry in lists:
        others.setdefault(entry.catalog, []).extend(entry.candidates)
    found: list[QueryList] = []
    for entry in lists:
        random = _random(seed, f"strangers {entry.catalog} {entry.query}")
        inside = {one.product_id for one in entry.candidates}
        drawn = random.choices(others[entry.catalog], k=count) if len(inside) > 1 else []
        added = [
            Candidate(
                one.product_id,
                one.passage if place % 2 else " ".join(one.passage.split()[: random.randint(1, 4)]),
                Origin.MINED,
                "other lists",
                weight=MINED_WEIGHT,
            )
            for place, one in enumerate(drawn)
            if one.product_id not in inside
        ]
        found.append(replace(entry, candidates=(*entry.candidates, *added)))
    return found


def _candidate(
    product: Product,
    origin: Origin,
    source: str,
    *,
    grade: float | None = None,
    teacher: float | None = None,
    weight: float = 1.0,
) -> Candidate:
    text = passage(product)
    return Candidate(product.id, text, origin, str(source), grade, teacher, weight)


def _random(seed: int, name: str) -> Random:
    """A generator of its own for each query: what is drawn does not depend on the others."""
    return Random(f"{seed} {name}")  # noqa: S311 - a sample, not a secret
