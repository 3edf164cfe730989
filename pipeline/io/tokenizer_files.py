"""The files of a tokenizer of transformers, checked before a class is built from them."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import QpertError
from pipeline.io.model_files import read_json

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt")
"""The files of a tokenizer, for downloads."""
CLASSES = (
    "BertTokenizer", "CLIPTokenizer", "GemmaTokenizer", "GPT2Tokenizer", "LlamaTokenizer", "PreTrainedTokenizer",
    "PreTrainedTokenizerFast", "RobertaTokenizer", "Siglip2Tokenizer", "SiglipTokenizer", "T5Tokenizer",
    "TokenizersBackend", "XLMRobertaTokenizer",
)  # fmt: skip
_KEYS = frozenset(
    {
        "tokenizer_class", "processor_class", "model_max_length", "max_length", "max_len", "name_or_path", "backend",
        "is_local", "local_files_only", "special_tokens_map_file", "tokenizer_file", "model_input_names", "stride",
        "padding_side", "padding", "pad_to_multiple_of", "pad_token_type_id", "truncation", "truncation_side",
        "truncation_strategy", "additional_special_tokens", "extra_special_tokens", "added_tokens_decoder",
        "add_special_tokens", "add_prefix_space", "add_bos_token", "add_eos_token", "add_dummy_prefix_space",
        "split_special_tokens", "spaces_between_special_tokens", "clean_up_tokenization_spaces", "errors", "legacy",
        "from_slow", "use_fast", "use_default_system_prompt", "sp_model_kwargs", "extra_ids", "do_lower_case",
        "do_basic_tokenize", "never_split", "strip_accents", "tokenize_chinese_chars", "trim_offsets",
        "transformers_version", "_commit_hash",
    }
)  # fmt: skip
"""Keys allowed in tokenizer_config.json, besides the special tokens themselves (`..._token`)."""


def check_tokenizer(folder: Path) -> str | None:
    """Refuse a tokenizer that is more than a vocabulary.

    Returns:
        The class that tokenizer_config.json names, without "Fast"; None if it names none.

    Raises:
        QpertError: with the key, class or file that is not allowed.
        OSError, ValueError: a file is damaged.
    """
    for name in FILES:
        if name.endswith(".json") and name != "tokenizer_config.json" and (folder / name).is_file():
            read_json(folder / name)
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return None
    config = read_json(path)
    for key, value in config.items():
        if key not in _KEYS and not key.endswith("_token"):
            raise QpertError(f"{path}: {key!r} is not among the keys that are read here; remove it")
        if key == "tokenizer_file" and value is not None and Path(str(value)).name != value:
            raise QpertError(f"{path}: {key} names the file {value!r} elsewhere; put it into {folder}")
    named = config.get("tokenizer_class")
    if named is None:
        return None
    plain = str(named).removesuffix("Fast")
    if str(named) not in CLASSES and plain not in CLASSES:
        raise QpertError(f"{path}: tokenizer_class {named!r} is none of: {', '.join(CLASSES)}")
    return plain
