"""Run the measures that are asked for; see `benchmarks.engine`."""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch

import benchmarks.engine
from benchmarks.engine import against, own
from benchmarks.engine.figures import Figure, say
from benchmarks.engine.setting import TINY, Setting, Sizes
from mixsd.models.load import load_base, use_threads
from mixsd.models.registry import default_cache
from mixsd.models.store import pull
from mixsd.prompts import STYLES

MEASURES: Final[Mapping[str, Callable[[Setting], Mapping[str, Figure]]]] = MappingProxyType(
    {
        "G1": own.equality,
        "G2": against.against_generate,
        "G3": against.decoding_against_generate,
        "G4": against.against_blocks,
        "G5": against.against_stateless,
        "G6": against.against_two_calls,
        "G7": own.retries,
        "G8": own.speculation,
        "G9": own.growth,
        "G10": own.straggler,
        "G11": own.several_lams,
        "G12": own.peak_memory,
        "G13": own.prefill,
        "G14": own.rows_a_token,
    }
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    use_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        setting = _setting(options, Path(folder))
        say(f"{setting.base.id}, {options.style} prompts, {torch.get_num_threads()} threads, {setting.sizes}")
        figures: dict[str, Figure] = {}
        for name in options.only:
            say(name)
            for key, figure in MEASURES[name](setting).items():
                figures[key] = figure
                say(f"{key} {figure.median:.3f} ({figure.floor})")
    if options.json:
        print(json.dumps({name: figure.to_json() for name, figure in figures.items()}, indent=2))
    else:
        for name, figure in figures.items():
            held = "holds" if figure.met else "MISSED"
            print(f"{name:10} {figure.median:9.3f}  {figure.floor:16} {held:8} {figure.what}")


def _setting(options: argparse.Namespace, folder: Path) -> Setting:
    sizes = TINY if options.tiny else Sizes()
    if options.facts:
        sizes = replace(sizes, facts=options.facts)
    cache = options.cache or default_cache()
    model = options.model
    if options.tiny:
        from tests.fixtures.tiny import register_tiny

        cache, model = folder, "tiny/random"
        register_tiny(cache, model)
    base = load_base(pull(model, cache=cache), device="cpu")
    return Setting(base, sizes, options.style, options.pairs)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine",
        description=benchmarks.engine.__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES), metavar="G")
    parser.add_argument("--pairs", type=int, default=3, help="of runs, for each ratio of times")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--cache", type=Path, help="folder of base models")
    parser.add_argument("--facts", type=int, default=0, help="of most measures; 32 if left out")
    parser.add_argument("--style", "--prompt-style", choices=list(STYLES), default="kgfact")
    parser.add_argument("--threads", type=int, default=0, help="0 takes one for each core")
    parser.add_argument("--tiny", action="store_true", help="a random model, to see that all of it runs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
