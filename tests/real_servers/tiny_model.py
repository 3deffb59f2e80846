"""A tiny model that says four things, made in seconds on a CPU; run by an interpreter that has torch.

    python tiny_model.py FOLDER

Two layers of Qwen2's form, so that `transformers serve` parses its reasoning and its tool calls. What it says
depends on the last mark of its prompt: a plain question, tools, a tool's result, or "long".
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# Each part is one token, beside a token for each byte.
THINKS = ["<think>", "They ask for a name.", "</think>"]
CALLS = ['<tool_call>{"name": "look_up", "arguments": {"name": "', '"}}</tool_call>']
SAYS = {
    "<|plain|>": [*THINKS, "Greetings", " from", " a", " tiny", " model.", "<|im_end|>"],
    "<|tools|>": [*THINKS, CALLS[0], "Ada", CALLS[1], CALLS[0], "Bob", CALLS[1], "<|im_end|>"],
    "<|result|>": ["Ada is in", " Paris.", "<|im_end|>"],
    "<|long|>": [" on"] * 12,
}
# The mark stands right before the answer, so that so small a model finds it.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if messages[-1]['role'] == 'tool' %}<|result|>{% elif tools %}<|tools|>"
    "{% elif 'long' in (messages[-1]['content'] | string) %}<|long|>{% else %}<|plain|>{% endif %}"
    "{{ '<|im_start|>assistant\\n' }}"
)
WINDOW = 32  # what it sees: what it learnt at one place of a prompt holds at any
SPECIAL = ["<|im_end|>", "<|im_start|>", *SAYS]


def main(folder: Path) -> None:
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate([*SPECIAL, *letters])}
    bytes_only = Tokenizer(models.BPE(vocab=words, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    bytes_only.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    bytes_only.add_tokens(sorted({word for said in SAYS.values() for word in said} - set(SPECIAL)))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only, eos_token=SPECIAL[0], pad_token=SPECIAL[0]
    )
    tokenizer.chat_template = TEMPLATE
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=4096, bos_token_id=1,
        eos_token_id=0, pad_token_id=0,
        use_sliding_window=True, sliding_window=WINDOW, max_window_layers=0,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    texts = [f"{mark}<|im_start|>assistant\n{''.join(said)}" for mark, said in SAYS.items()]
    learn(model, tokenizer, texts)
    model.generation_config.do_sample = False
    model.generation_config.max_new_tokens = 400
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def learn(model: Any, tokenizer: Any, texts: list[str]) -> None:
    """Let the model learn the texts by heart, whatever stands before them."""
    import torch

    rows = [tokenizer(text)["input_ids"] for text in texts]
    noise = list(range(len(SPECIAL), len(tokenizer)))
    steps = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(300):
        before = WINDOW
        length = before + max(map(len, rows))
        batch = torch.zeros(len(rows), length, dtype=torch.long)
        wanted = torch.full_like(batch, -100)
        for number, row in enumerate(rows):
            batch[number, :before] = torch.tensor(noise)[torch.randint(0, len(noise), (before,))]
            batch[number, before : before + len(row)] = torch.tensor(row)
            wanted[number, before + 1 : before + len(row)] = torch.tensor(row[1:])
        loss = model(input_ids=batch, labels=wanted).loss
        steps.zero_grad()
        loss.backward()
        steps.step()
        if step % 20 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
        if loss.item() < 0.01:
            break


if __name__ == "__main__":
    main(Path(sys.argv[1]))
