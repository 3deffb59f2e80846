"""Lets the coding agent mend a small project: the search has a context and a model of its own, tests decide.

stepgraph run coding-agent -i task="Discounts are taken off" -i folder=shop --model default=openai:gpt-5 \
    --model search=openai:gpt-5-mini
"""

import tempfile
from pathlib import Path

from stepgraph import Budget, ScriptedModel, Session, estimate, resume, run, using
from stepgraph.graphs.ready.coding_agent.graph import CodingTask, graph

SHOP = {
    "prices.py": "def discounted(amount, percent):\n    return amount * percent / 100\n",
    "bill.py": """from prices import discounted


def total(items):
    return sum(discounted(amount, percent) for amount, percent in items)
""",
    "unused.py": "# Nobody needs this any more.\n",
    "test_bill.py": """import unittest

from bill import total


class Bills(unittest.TestCase):
    def test_a_discount_is_taken_off(self):
        self.assertEqual(total([(200, 10), (100, 0)]), 280)
""",
}

# What models answer, so that the example needs no key. `ask` is the search, in a context of its own.
ANSWERS = {
    "plan": ["Take the discount off the amount, in `discounted`. Look for `discounted` and `unused`."],
    "ask": [
        {"calls": [{"tool": "grep", "target": "discounted"}, {"tool": "find", "target": "unused"}]},
        {"ranges": [{"file": "prices.py", "start": 1, "end": 2, "reason": "computes the discount"}]},
    ],
    "edit": [
        """### prices.py
```python
def discounted(amount, percent):
    return amount - percent
```
""",  # wrong: the tests say so, and the next round gets to read what they say
        """### delete unused.py

### prices.py
```python
def discounted(amount, percent):
    return amount * (100 - percent) / 100
```
""",
    ],
}


def main(folder: Path) -> dict[str, object]:
    """Run the agent on a project up to the diff, say yes to it, and return what became of it."""
    agent = graph.compile()
    task = CodingTask(
        "Discounts must be taken off, and the unused module can go.",
        str(folder),
        test="python -m unittest -v",
    )
    with Session(folder.parent / "runs.sqlite") as session:
        waiting = run(agent, task, session, "discounts", budget=Budget(calls=11)).waiting[0].value
        print(waiting["question"], waiting["value"], sep="\n")
        return resume(agent, session, "discounts", answer="approve").values


if __name__ == "__main__":
    shop = Path(tempfile.mkdtemp()) / "shop"
    shop.mkdir()
    for name, text in SHOP.items():
        (shop / name).write_text(text, encoding="utf-8")
    print(f"at most {estimate(graph).most_calls:.0f} calls")
    with ScriptedModel(ANSWERS) as model, using(model):
        done = main(shop)
    print(done["status"], done["written"], done["report"], sorted(path.name for path in shop.iterdir()))
