"""The words of a release, for what prepares captions for its text encoder."""

from pathlib import Path

from colorjax.data import tokenizer


def tokenizer_of(directory: Path) -> tokenizer.Tokenizer:
    """The tokenizer of a release, as its text encoder wants it.

    Raises:
        UserError: it is missing or damaged.
    """
    from colorjax import release

    sizes = release.read_config(directory)["text_encoder"]
    folder = release.tokenizer(directory, tokenizer.FILES)
    return tokenizer.Tokenizer(folder, sizes["max_position_embeddings"], sizes["vocab_size"])
