from __future__ import annotations

import pytest

from stepgraph.graphs.ready.support_desk import shop


@pytest.mark.parametrize("written", ["SG-1042", "sg1042", "order SG 1042.", "(Sg-1042)"])
def test_order_numbers_are_found_as_people_write_them(written: str) -> None:
    assert shop.order_number_in(f"hello {written} bye") == "SG-1042"


@pytest.mark.parametrize("written", ["", "1042", "SG-10422", "MSG-1042x", "SG-104"])
def test_other_numbers_are_none(written: str) -> None:
    assert shop.order_number_in(written) is None


def test_a_double_charge_is_a_fact_with_its_refund() -> None:
    assert shop.payment_facts("SG-1042") == [
        "$49.00 was charged twice on 2026-10-02.",
        "We will refund the second charge.",
    ]


def test_a_cancelled_order_tells_charge_and_refund() -> None:
    assert shop.payment_facts("SG-1046") == [
        "$59.00 was charged on 2026-11-01.",
        "$59.00 was refunded on 2026-11-02.",
    ]


def test_unknown_orders_have_no_facts() -> None:
    assert shop.order_facts("SG-9999") == []
    assert shop.payment_facts("SG-9999") == []
    assert shop.warranty_facts("SG-9999") == []
    assert shop.product_of("SG-9999") == ""


@pytest.mark.parametrize(
    ("order", "owed"),
    [("SG-1042", 49.0), ("SG-1044", 0.0), ("SG-1046", 0.0), ("SG-1050", 129.0), ("SG-9999", 0.0)],
)
def test_what_we_owe_is_a_second_charge_that_was_not_refunded(order: str, owed: float) -> None:
    assert shop.owed(order) == owed


def test_warranty_runs_from_the_order_date() -> None:
    assert shop.warranty_facts("SG-1048") == [
        "The Ristretto espresso machine from order SG-1048 is under warranty until 2028-12-01."
    ]


def test_articles_are_found_by_their_words() -> None:
    (advice,) = shop.find_article("my grinder only hums")
    assert advice.startswith("Unplug the grinder")
    assert shop.find_article("") == []
    assert shop.find_article("qqq zzz") == []


def test_search_words_are_data_not_query_syntax() -> None:
    assert shop.find_article('grinder" OR NEAR( * ) AND --; DROP TABLE articles') != []
    assert shop.find_article("kettle") != []
