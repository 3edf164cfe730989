"""How to get the weights of an encoder, with a network and without: commands, folders and variables."""

from __future__ import annotations

import shlex

from huggingface_hub import constants

from pipeline.encoders.catalogue import CatalogueEntry
from pipeline.encoders.downloads import hub_files, weights_here
from pipeline.encoders.hub import split_file

_FOLDERS = {
    "blip2": "config.json, model.safetensors (or shards and their index), and tokenizer.json or vocab.txt",
    "internvl": "config.json, the shards of model.safetensors and their index, and tokenizer.model",
    "open_clip": "open_clip_config.json, open_clip_model.safetensors, and the tokenizer's files if it is not CLIP's",
    "siglip2": "config.json, preprocessor_config.json, model.safetensors, and the tokenizer's files",
}
"""What a folder given as --weights holds, by family."""
_FAMILY = {"coca": "open_clip", "internvl-c": "internvl"}


def ways_to_get(entry: CatalogueEntry) -> dict[str, str]:
    """What to do, by what for: commands, folders and variables, a line each."""
    plain = "" if entry.sites else " --perturbation none"
    use = f"qpert index photos/ --out features/ --encoder {entry.encoder}{plain}"
    if entry.bundled:
        return {"use": use, "download": "none: the weights come with the package"}
    repository, file = split_file(entry.repository)
    folder, family = repository.partition("/")[2], _FAMILY.get(entry.encoder, entry.encoder)
    here = weights_here(entry.encoder, entry.weights)
    half = 2 * entry.spec.parameters / 1e9
    ways = {
        "use": f"{use} --weights {entry.weights}",
        "page": f"{constants.ENDPOINT}/{repository}",
        "here": f"in {here}" if here is not None else f"no: not in {constants.HF_HUB_CACHE}",
        "download": f"at the first use, or before it: qpert models {entry.weights} --fetch",
        "size": f"{2 * half:.1f} GB if stored in float32, {half:.1f} in half precision",
        "mirror": "HF_ENDPOINT=https://MIRROR names another hub, HF_HOME=FOLDER another place for the cache",
        "no network": f"copy {constants.HF_HUB_CACHE} from a machine that has it, and set HF_HUB_OFFLINE=1",
    }
    if not file:
        ways["or a folder"] = f"{_command(entry, repository)} --local-dir {folder}, then --weights {folder}"
        ways["in it"] = _FOLDERS[family]
    if family == "open_clip":
        ways["or a file"] = f"--weights {entry.name}:/path/to/file.safetensors, with the tokenizer's files beside it"
    return ways


def _command(entry: CatalogueEntry, repository: str) -> str:
    """Fetches what is read and no more: many repositories hold the same weights in several formats."""
    files = hub_files(entry.encoder, entry.weights)
    wanted = " ".join(f"--include {shlex.quote(pattern)}" for pattern in files.patterns) if files else ""
    return f"hf download {repository} {wanted}".rstrip()
