"""A gate stops a chain early, or has the work repaired: the step is asked again, and told why."""

from dataclasses import dataclass

from stepgraph import Ask, ScriptedModel, StepgraphError, chain, gate, step, using


@dataclass
class Product:
    name: str
    text: str = ""
    german: str = ""


@step("text")
def describe(product: Product) -> Ask[str]:
    return Ask(f"Describe the {product.name} in one sentence.")


@step("german")
def translate(product: Product) -> Ask[str]:
    return Ask(f"Translate into German: {product.text}")


def honest(product: Product) -> bool | str:
    """Return True to let it pass, or the reason not to. Plain code: it costs nothing."""
    return "best" not in product.text or 'leave out "best", nobody can prove it.'


strict = chain(describe, gate(honest), translate)
patient = chain(describe, gate(honest, repair=describe, tries=2), translate)

if __name__ == "__main__":
    with ScriptedModel(["The best kettle."]) as model, using(model):
        try:
            strict.compile().invoke(Product("kettle"))
        except StepgraphError as error:
            print(error)

    answers = ["The best kettle.", "A kettle that boils in two minutes.", "Ein schneller Wasserkocher."]
    with ScriptedModel(answers) as model, using(model):
        result = patient.compile().invoke(Product("kettle"))
    print(f"The model was told: {model.asks[1][1].messages[-1]['content']}")
    print(f"{result['text']}  {result['german']}")
