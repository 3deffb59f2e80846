"""What a cascade saved over one strong model for all, with its factors. See the README here.

The token counts are of a recorded run (`model_routing.json`, beside this file): the 20 example tickets of
the support desk, drafted by the small model and, where the desk's checks in code found a problem, by the
large one. Both roles were the on-device model (SmolLM2-135M, `--record` makes the record anew), so the
counts are its own, and so is the share that escalated: a better small model escalates less. The prices
are those of two real models; only their ratio matters for what is printed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from stepgraph.evals import Price, Savings, Used, savings, used_calls

HERE = Path(__file__).parent
RECORD = HERE / "model_routing.json"
TICKETS = HERE.parent / "examples" / "tickets.jsonl"

# US dollars per million tokens, read on 2026-11-21 at
# https://raw.githubusercontent.com/github/docs/main/data/tables/copilot/models-and-pricing.yml
PRICES = {
    "small": ("GPT-5 mini", Price(input=0.25, output=2.00)),
    "large": ("GPT-5.2", Price(input=1.75, output=14.00)),
}


def record() -> list[Used]:
    """Run the desk's drafting as a cascade on the on-device model and return the calls."""
    from stepgraph import Session, StepgraphError, cascade, chain, route, using
    from stepgraph.graphs.ready.support_desk import graph as desk
    from stepgraph.state.schema import parse_input

    answer = cascade(
        desk.draft.on("small"),
        desk.draft.on("large"),
        check=desk.check,
        accept=lambda problems: not problems or " ".join(problems),
    )
    app = route(
        desk.triage,
        {
            "billing": chain(desk.find_payments, answer),
            "technical": chain(desk.diagnose, answer),
            "general": chain(desk.search, answer),
        },
        fallback=desk.hand_over,
        min_confidence=0.5,
    ).compile()
    with (
        tempfile.TemporaryDirectory() as folder,
        Session(Path(folder) / "runs.sqlite") as session,
        using("local"),
    ):
        for line in TICKETS.read_text(encoding="utf-8").splitlines():
            data = json.loads(line)
            try:
                app.invoke(parse_input(desk.Ticket, data), session.config(data["ticket"]))
            except StepgraphError as error:
                print(f"{data['ticket']}: {error}")
        return used_calls(session.journal)


def show(saved: Savings) -> None:
    """Print what was saved, and its factors."""
    for role, (name, price) in PRICES.items():
        print(f"{role:<8}{name:<12}${price.input:.2f} in, ${price.output:.2f} out per million tokens")
    print(f"{saved.items} answers, {saved.calls} calls")
    print(f"all on the large model   ${saved.baseline_usd:.6f}")
    print(f"as a cascade             ${saved.cost_usd:.6f}")
    print(f"share of spend moved     {saved.moved:6.1%}")
    print(f"price ratio              {saved.price_ratio:6.1%}")
    print(f"share escalated          {saved.escalated:6.1%}")
    print(f"saved                    {saved.saving:6.1%}  = moved x (1 - price ratio - escalated)")


def main() -> Savings:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--record", action="store_true", help="run on the on-device model and keep the counts"
    )
    if parser.parse_args().record:
        RECORD.write_text(json.dumps([asdict(call) for call in record()], indent=1) + "\n", encoding="utf-8")
    used = [Used(**row) for row in json.loads(RECORD.read_text(encoding="utf-8"))]
    saved = savings(used, {role: price for role, (_, price) in PRICES.items()}, baseline="large")
    show(saved)
    return saved


if __name__ == "__main__":
    main()
