"""The page that goes with an exported classifier: what it is, and a program that uses it."""

from __future__ import annotations

from model.base import DEPTH
from model.registry import Description
from model.tokenizing import MAX_TOKENS, PAD
from pipeline.scoring.template import SCORED_CHARACTERS

_PAGE = """# A classifier of bad news

Exported by Tocsin; version {version}. It gives the probability that a text (a headline, a report, a log line) is bad
news for the thing it is about. From 0.5 on Tocsin labels a text "bad".

- Input: token ids of `tokenizer.json`, at most {tokens} a text, filled up with {pad}.
- Output: {output}.
- Calibration: probability = 1 / (1 + exp(-({scale} * logit + {shift}))); {folded}.
- Tocsin makes white space even before it scores, reads the first {characters:,} characters, and masks what varies in
  log lines: a word with a digit in it is `<*>`, but a status of HTTP that says trouble (401, 403, 429, 5xx) becomes
  what it means. `pipeline/scoring/template.py` does it: do the same to get its scores.

```python
{program}```
"""

_OUTPUTS = {
    "onnxruntime": "`probability` (n), beside `means` (n, {depth}, hidden), the means over the last layers",
    "openvino": "`probability` (n), beside `means` (n, {depth}, hidden), the means over the last layers",
    "torch": "the layers of the encoder; the means over the last {depth} go through `head.safetensors`",
}

_PROGRAMS = {
    "onnxruntime": """\
import numpy as np, onnxruntime
from tokenizers import Tokenizer

texts = ["Bank posts a huge loss", "link restored on switch 4"]
ids = np.array([e.ids for e in Tokenizer.from_file("tokenizer.json").encode_batch(texts)], np.int32)
session = onnxruntime.InferenceSession("classifier.onnx")
print(*session.run(["probability"], {"ids": ids})[0])
""",
    "openvino": """\
import numpy as np, openvino
from tokenizers import Tokenizer

texts = ["Bank posts a huge loss", "link restored on switch 4"]
ids = np.array([e.ids for e in Tokenizer.from_file("tokenizer.json").encode_batch(texts)], np.int32)
compiled = openvino.Core().compile_model("classifier.xml", "CPU")
print(*compiled({"ids": ids})["probability"])
""",
    "torch": """\
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModel

texts = ["Bank posts a huge loss", "link restored on switch 4"]
encodings = Tokenizer.from_file("tokenizer.json").encode_batch(texts)
ids = torch.tensor([e.ids for e in encodings])
mask = torch.tensor([e.attention_mask for e in encodings])
head = load_file("head.safetensors")
with torch.inference_mode():
    layers = AutoModel.from_pretrained(".")(ids, mask, output_hidden_states=True).hidden_states[-DEPTH:]
    means = torch.cat([(layer * mask[..., None]).sum(1) / mask.sum(1, keepdim=True) for layer in layers], 1)
    logits = torch.relu(means @ head["inner"] + head["inner_bias"]) @ head["outer"] + head["outer_bias"]
print(*torch.sigmoid(SCALE * logits + SHIFT).tolist())
""",
}


def readme(description: Description, engine: str) -> str:
    """The page, in Markdown, for a classifier exported for `engine`. Its program prints two probabilities, and runs in
    the folder of the export."""
    numbers = {"DEPTH": str(DEPTH), "SCALE": repr(description.scale), "SHIFT": repr(description.shift)}
    program = _PROGRAMS[engine]
    for name, value in numbers.items():
        program = program.replace(name, value)
    return _PAGE.format(
        version=description.version,
        tokens=MAX_TOKENS,
        characters=SCORED_CHARACTERS,
        pad=PAD,
        output=_OUTPUTS[engine].format(depth=DEPTH),
        scale=numbers["SCALE"],
        shift=numbers["SHIFT"],
        folded="the program does it" if engine == "torch" else "it is in the file",
        program=program,
    )
