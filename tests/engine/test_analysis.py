from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.analysis import _remembered, analyze, count_terms


def found(query: str, title: str) -> bool:
    """Every term of the query is a term of the title."""
    return set(analyze(query)) <= set(analyze(title))


@pytest.mark.parametrize(
    "spelling", ["12in", "12 in", "12-in", "12-inch", '12"', "12″", "12 INCHES"]
)
def test_size_is_one_term_in_every_spelling(spelling: str) -> None:
    assert analyze(spelling) == ["12", "12in"]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("1/2 in", ["1/2", "1/2in"]),
        ('½"', ["1/2", "1/2in"]),
        ("1½ in", ["1-1/2", "1-1/2in"]),
        ("1 1/2-inch", ["1-1/2", "1-1/2in"]),
        ("2.50", ["2.5"]),
        (".5 oz", ["0.5", "0.5oz"]),
        ("1,000 count", ["1000", "1000ct"]),
        ("16 fl oz", ["16", "16oz"]),
        ("3-pack", ["3", "3pack"]),
        ("pack of 3", ["pack", "3", "3pack"]),
        ("5V 2A", ["5", "5v", "2", "2a"]),
        ("1.7 L", ["1.7", "1.7l"]),
        ("30 W, 12 V, 500 g", ["30", "30w", "12", "12v", "500", "500g"]),
        ("size 5 a, 3 m", ["size", "5", "a", "3", "m"]),
        ("USB-C", ["usbc", "usb", "c"]),
        ("C++ C#", ["c++", "c#"]),
        ("w/o stem", ["without", "stem"]),
        ("black/white", ["black", "white"]),
        ("women’s dresses", ["women", "dress"]),
        ("6-12 months", ["6", "12", "month"]),
        ("2-in-1 laptop", ["2in1", "2", "in", "1", "laptop"]),
        ("Crème Brûlée", ["creme", "brule"]),
        ("Straße ﬁn ＡＢＣ", ["strass", "fin", "abc"]),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert analyze(text) == terms


@pytest.mark.parametrize("query", ["wh1000xm4", "wh-1000xm4", "WH 1000XM4", "WH-1000XM4"])
@pytest.mark.parametrize("title", ["Sony WH-1000XM4 Headphones", "Sony WH1000XM4"])
def test_model_number_is_found_in_every_spelling(query: str, title: str) -> None:
    assert found(query, title)


def test_model_number_is_not_found_by_its_neighbour() -> None:
    assert not found("wh1000xm3", "Sony WH-1000XM4")
    assert "1/2" not in analyze("1-1/2 in coupling")


@pytest.mark.parametrize(
    "title", ["5'x7' rug", "5x7 rug", "5 x 7 ft rug", "5’ × 7’ rug", "5 ft x 7 ft rug"]
)
def test_dimensions_share_their_pair(title: str) -> None:
    assert found("5x7 rug", title)
    assert not found("5x8 rug", title)


def test_word_in_after_a_number_is_an_inch_only_where_it_can_be() -> None:
    assert "3in" not in analyze("3 in 1 cable")
    assert found("3-in-1 cable", "3 in 1 cable")


def test_several_in_one() -> None:
    assert analyze("3 in 1") == analyze("3-in-1")


@pytest.mark.parametrize(
    ("query", "title", "other"),
    [
        ("蓝牙耳机", "索尼无线蓝牙耳机 降噪", "蓝色牙刷"),
        ("锅", "不粘锅 28cm", "蓝牙耳机"),
        ("イヤホン", "ワイヤレスイヤホン 防水", "ワイヤレスマウス"),
        ("コーヒー豆", "有機コーヒー豆 500g", "コーヒーカップ"),
        ("이어폰", "무선이어폰 블루투스", "무선 마우스"),
        ("무선 이어폰", "무선이어폰을 위한 케이스", "유선 마우스"),
        ("กาแฟ", "เครื่องชงกาแฟ", "เครื่องซักผ้า"),
        ("ｲﾔﾎﾝ", "イヤホン", "マウス"),
        ("наушники", "Беспроводные НАУШНИКИ", "мышь"),
        ("سماعة", "سَمَّاعَة بلوتوث", "هاتف"),
        ("किताब", "हिन्दी किताब", "कलम"),
        ("ακουστικά", "Ασύρματα ΑΚΟΥΣΤΙΚΑ", "ποντίκι"),
    ],
)
def test_other_scripts_are_found(query: str, title: str, other: str) -> None:
    assert analyze(query)
    assert found(query, title)
    assert not found(query, other)


def test_kana_and_hangul_keep_what_tells_them_apart() -> None:
    assert analyze("が") != analyze("か")
    assert analyze("각") == ["각"]


@given(st.text(max_size=300) | st.text(alphabet="0123456789./x ,-'\"ainpcko&_", max_size=300))
@settings(max_examples=300, deadline=None)
def test_never_raises_and_gives_terms_an_index_can_hold(text: str) -> None:
    for term in analyze(text):
        assert 0 < len(term) <= 64
        assert not any(char.isspace() for char in term)
        assert term.encode() == term.encode("utf-8", "strict")


@given(st.text(max_size=100))
@settings(max_examples=200, deadline=None)
def test_case_of_ascii_never_matters(text: str) -> None:
    ascii_only = text.encode("ascii", "ignore").decode()
    assert analyze(ascii_only.upper()) == analyze(ascii_only.lower())


@pytest.mark.parametrize(
    "text", ["", " ", "\x00\x1f", "😀🔥", "\ud800", "\u200f\u202e", "!!!", "--"]
)
def test_text_without_words_has_no_terms(text: str) -> None:
    assert analyze(text) == []


@pytest.mark.parametrize(
    "unit",
    [
        "1",
        "1,",
        "1.",
        "1 x ",
        "1x",
        "a-",
        "a.",
        "1/",
        "'",
        "1 1/",
        "pack of ",
        "12-",
        "汉",
        "5'x",
        ".",
        " ",
    ],
)
def test_long_text_takes_linear_time(unit: str) -> None:
    start = time.process_time()
    analyze(unit * (10_000 // len(unit)) + "a")
    assert time.process_time() - start < 0.5  # a quadratic expression takes many seconds


def test_threads_agree() -> None:
    words = [f"running{suffix} dresses" for suffix in "abcdefgh"]
    expected = [analyze(word) for word in words]
    got: list[list[list[str]]] = []
    threads = [
        threading.Thread(target=lambda: got.append([analyze(word) for word in words]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [expected] * 8


def test_words_are_remembered_but_not_what_would_fill_the_memory() -> None:
    _remembered.cache_clear()
    once = analyze("running 5'x7' wh-1000xm4 наушники")
    assert _remembered.cache_info().currsize == 4
    assert analyze("running 5'x7' wh-1000xm4 наушники") == once
    assert _remembered.cache_info().hits == 4
    assert analyze("蓝牙耳机 이어폰 กาแฟ " + "x" * 33 + " " + "a-" * 20 + "a")
    assert _remembered.cache_info().currsize == 4


def test_memory_for_strangers_queries_is_bounded() -> None:
    draw = random.Random(3)
    _remembered.cache_clear()
    tracemalloc.start()
    for _ in range(100):
        analyze("".join(chr(draw.randint(0x4E00, 0x9FFF)) for _ in range(1_000)))
        analyze("".join(draw.choice("abcdefghi-") for _ in range(1_000)).replace("--", "-"))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2_000_000  # all remembered, they took 30 million bytes
    assert _remembered.cache_info().maxsize == 65_536


def test_import_brings_in_no_dictionary() -> None:
    code = "import sys, engine.analysis; sys.exit('jieba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_terms_are_counted_once_and_without_function_words() -> None:
    assert count_terms("laptop") == count_terms("the Laptops for a laptop") == 1
    assert count_terms("belt without buckle") == 3
    assert count_terms("蓝牙耳机") > 2
    assert count_terms("for the") == count_terms("") == 0
