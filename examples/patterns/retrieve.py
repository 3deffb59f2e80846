"""An answer from passages that a retriever found; its citations are checked, and a bad one is redone."""

from dataclasses import dataclass, field

from stepgraph import (
    Ask,
    Passage,
    ScriptedModel,
    chain,
    check_citations,
    cited_passages,
    gate,
    render_passages,
    retrieve,
    step,
    using,
)

FACTS = ["Refunds take five days.", "Returns are free for 30 days.", "Gift cards never expire."]


def find(query: str) -> list[tuple[str, float]]:
    """The facts, those with most of the query's words first. Any LangChain retriever will do as well."""
    words = set(query.lower().split())
    scored = [(fact, float(len(words & set(fact.lower().rstrip(".").split())))) for fact in FACTS]
    return sorted((pair for pair in scored if pair[1]), key=lambda pair: -pair[1])


@dataclass
class QA:
    question: str
    passages: list[Passage] = field(default_factory=list)
    answer: str = ""


@retrieve("passages", find, k=2)
def search(qa: QA) -> str:
    return qa.question


@step("answer")
def reply(qa: QA) -> Ask[str]:
    return Ask(f"Answer, and cite as [1].\n{render_passages(qa.passages)}\nQuestion: {qa.question}")


def grounded(qa: QA) -> bool | str:
    return check_citations(qa.answer, qa.passages)


app = chain(search, reply, gate(grounded, repair=reply)).compile()

if __name__ == "__main__":
    answers = ["In three days [3].", 'It is written: "Refunds take five days" [1].']
    with ScriptedModel(answers) as model, using(model):
        result = app.invoke(QA("how many days do refunds take"))
    print(result["answer"])
    print([passage.text for passage in cited_passages(result["answer"], result["passages"])])
