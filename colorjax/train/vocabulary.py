"""Training a small vocabulary in CLIP's two files, for towers that are trained from nothing."""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from colorjax import files
from colorjax.data import captions
from colorjax.data.colour_names import CHROMATIC_COLOURS, NEUTRAL_COLOURS
from colorjax.data.tokenizer import BOS, EOS, MERGES, VOCABULARY
from colorjax.errors import UserError

_WORD_END = "</w>"
# What people ask for in photographs, so that a small vocabulary keeps ordinary prompts short.
EVERYDAY_WORDS = """
the a an and of in on at with to from by near next behind under over between is are has wearing
holding standing sitting walking running flying parked lying looking two three four many some old
young new little small big large long short bright dark light pale deep vivid warm cool soft rich
faded shiny golden silver colorful colored natural vintage historic realistic sunny cloudy rainy
snowy night day morning evening sunset sunrise summer winter autumn spring photo photograph picture
image painting portrait landscape scene view city town village street road house home building
bridge church tower castle wall door window roof room kitchen table chair sofa bed lamp floor carpet
curtain clock book bottle cup glass plate bowl box bag umbrella shop market station airport harbor
beach sea ocean lake river water wave sand stone rock mountain hill valley forest tree leaf leaves
wood bush garden park grass field meadow farm flower rose tulip sunflower sky cloud sun moon star
snow ice fire smoke man woman men women boy girl child children baby people person family couple
crowd player soldier farmer king queen bride face eye eyes hair beard skin lips hand dress shirt
coat jacket suit tie hat cap scarf skirt jeans pants shoes boots gloves sweater uniform leather
cotton metal wooden brick animal animals cow sheep goat pig chicken duck goose rabbit mouse bear
lion tiger elephant zebra giraffe monkey fish butterfly bee snake turtle parrot owl eagle puppy
kitten bicycle bike motorcycle bus train van taxi tractor wagon jet helicopter balloon sail wing
wheel engine flag sign ball kite toy guitar piano food fruit apple orange lemon banana cherry grape
strawberry tomato carrot pepper pumpkin bread cheese cake pizza coffee tea wine milk egg red pink
scarlet crimson maroon brown tan beige cream gold yellow olive green lime mint teal turquoise cyan
blue navy azure indigo violet purple lavender magenta gray grey black white ivory
"""


def byte_symbols() -> list[str]:
    """GPT-2's 256 printable characters in CLIP's order: printable bytes first, then the others.

    A byte that is no visible Latin-1 character is written as a character from U+0100 on.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(code) for code in visible] + [chr(0x100 + i) for i in range(256 - len(visible))]


def everyday_corpus() -> Iterator[str]:
    """Every sentence that captions can be made of, and `EVERYDAY_WORDS`, in a fixed order."""
    colours = NEUTRAL_COLOURS + CHROMATIC_COLOURS
    for triple in itertools.product(colours, colours, captions.CIFAR10_CLASSES):
        for sentences in captions.phrase(*triple).values():
            yield from sentences
    yield from captions.SCARCE * 100  # drawn as often as all others, so worth whole words
    yield from EVERYDAY_WORDS.splitlines()


def train(corpus: Iterable[str], directory: str | Path, vocab_size: int = 1024) -> None:
    """Learns byte pairs and writes `vocab.json` and `merges.txt` as CLIP has them.

    Ids are 256 bytes, 256 bytes that end a word, one for each merge, then BOS and EOS. The same
    corpus always gives the same files.

    Raises:
        UserError: `vocab_size` is too small for bytes, BOS and EOS, or the corpus too small for it.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    bytes_ = byte_symbols()
    symbols = bytes_ + [symbol + _WORD_END for symbol in bytes_]
    num_merges = vocab_size - len(symbols) - 2
    if num_merges < 1:
        raise UserError(f"vocab_size is {vocab_size}; it must be at least {len(symbols) + 3}")
    bpe = Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    # As "special tokens" the symbols get CLIP's ids; left to the trainer, their order, which
    # breaks ties between equally frequent pairs, would follow a hash map.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,
        special_tokens=symbols,
        end_of_word_suffix=_WORD_END,
        min_frequency=1,
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    model = json.loads(bpe.to_str())["model"]
    vocabulary, merges = model["vocab"], [tuple(pair) for pair in model["merges"]]
    if len(vocabulary) != vocab_size - 2:
        raise UserError(
            f"the corpus gives {len(vocabulary) + 2} tokens, not vocab_size={vocab_size}; "
            "give more text or a smaller vocab_size"
        )
    vocabulary |= {BOS: vocab_size - 2, EOS: vocab_size - 1}
    directory = Path(directory)
    files.write_text(directory / VOCABULARY, json.dumps(vocabulary, ensure_ascii=False))
    text = "\n".join(["#version: 0.2", *(f"{a} {b}" for a, b in merges), ""])
    files.write_text(directory / MERGES, text)
