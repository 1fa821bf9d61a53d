"""`daogou train evidence`: judged questions → a folder with the evidence ranker and its card."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from engine.guide.evidence import (
    ADAPTERS_FILE,
    INFO_FILE,
    WEIGHTS_FILE,
    EvidenceInfo,
    save_evidence,
)
from engine.models.encoder import load_encoder
from engine.models.folder import read_model_info
from indexer.folders import CARD, replaceable, replaced
from indexer.train.evidence import check_enough, read_all, read_questions, train_evidence
from indexer.train.evidence_across import AcrossTrainer, reranker_for


def write_evidence(
    questions: Path,
    out: Path,
    *,
    encoder: Path,
    reranker: Path | None = None,
    data: str = "",
    seed: int = 0,
    threads: int = 0,
) -> EvidenceInfo:
    """Train on these questions and write into `out`; what the ranker says of itself.

    A reranker that reads this encoder is adapted beside: the given one, or the shipped one. `data`
    is a line for the card: where the questions are from, and their licence.

    Raises:
        CatalogError: the questions cannot be read.
        ModelError: the encoder cannot be read, or is no BERT.
        SettingsError: something else than an evidence ranker is in `out`.
        TrainingError: there are too few questions of either kind, or too few groups of them.
    """
    out = replaceable(out, INFO_FILE, WEIGHTS_FILE, ADAPTERS_FILE)
    asked = read_questions(questions)
    reader = load_encoder(encoder, threads=threads, tokens=True)
    adapted = reranker_for(reader.fingerprint, reranker)
    check_enough(asked, seed, across=adapted is not None)
    reads = read_all(asked, reader)
    across = AcrossTrainer(adapted, encoder, threads=threads) if adapted else None
    trained = train_evidence(
        asked, reads, name=out.name, encoder=reader.fingerprint, across=across, seed=seed
    )
    sets = Counter(one.kind or questions.stem for one in asked)
    provenance = {
        "questions": f"{len(asked):,}",
        "sets": ", ".join(f"{name} {count:,}" for name, count in sorted(sets.items())),
        "encoder": reader.info.name,
        "seed": str(seed),
        "data": data,
    }
    if adapted:
        provenance["reranker"] = read_model_info(adapted, kind="reranker").name
    info = trained.info.model_copy(update={"provenance": provenance})
    with replaced(out) as folder:
        save_evidence(folder, info, trained.weights, trained.adapters)
        (folder / CARD).write_text(_card(info), encoding="utf-8")
    return info


def _card(info: EvidenceInfo) -> str:
    """The model card."""
    learnt = info.provenance
    across = ""
    if info.reranker:
        across = f"""
- Beside the head, low-rank changes (LoRA) of the layers in which the reranker
  {learnt["reranker"]} reads the question across a piece; they belong to that reranker alone
  ({info.reranker[:16]}). Whether a question is answered is fitted on pieces that head and changes
  were not trained on, in inner folds of whole products."""
    return f"""# {info.name}

Finds the piece of a product's text (a sentence, a bullet point, an attribute) that answers a
question, and says how likely any does. A small head over what the encoder
{learnt["encoder"]} makes of both: it belongs to that encoder alone.

- Trained on {learnt["questions"]} judged questions: {learnt["sets"]}. Seed {learnt["seed"]}.
- Data and licence: {learnt.get("data") or "not told"}.{across}
- Says "answered" from a probability of {info.threshold:.2f}, where the mean F1 of both answers is
  best on held-out questions. Repeat with: daogou train evidence --questions FILE --out DIR.
- Measure it with: daogou evaluate consult --questions FILE. Without --model that trains anew in
  folds, so that no question is ranked by what has seen it; with it the figures are in sample.
- It repeats what texts say; it does not know whether they are true.
"""
