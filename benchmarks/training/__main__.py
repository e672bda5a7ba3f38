"""Run the measures that are asked for; see `benchmarks.training`."""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch

import benchmarks.training
from benchmarks.engine.figures import Figure, say
from benchmarks.training import measures
from benchmarks.training.setting import TINY, Setting, Sizes
from mixsd.models.load import load_base, use_threads
from mixsd.models.registry import default_cache
from mixsd.models.store import pull
from mixsd.prompts import STYLES

MEASURES: Final[Mapping[str, Callable[[Setting], Mapping[str, Figure]]]] = MappingProxyType(
    {
        "T1": measures.equality,
        "T2": measures.against_tuned,
        "T3": measures.against_defaults,
        "T4": measures.header_sharing,
        "T5": measures.several_targets,
        "T6": measures.peak_memory,
        "T7": measures.growth,
    }
)
NEED_TRL: Final = frozenset({"T1", "T2", "T3", "T6"})


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    use_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        setting = _setting(options, Path(folder))
        say(f"{setting.base.id}, {options.style} prompts, {torch.get_num_threads()} threads, {setting.sizes}")
        figures: dict[str, Figure] = {}
        for name in options.only:
            if name in NEED_TRL and setting.trl is None:
                say(f"{name} is left out: it needs --trl-python, a python that has trl 1.16")
                continue
            say(name)
            for key, figure in MEASURES[name](setting).items():
                figures[key] = figure
                say(f"{key} {figure.median:.3f} ({figure.floor})")
    if options.json:
        print(json.dumps({name: figure.to_json() for name, figure in figures.items()}, indent=2))
    else:
        for name, figure in figures.items():
            held = "holds" if figure.met else "MISSED"
            print(f"{name:4} {figure.median:9.3f}  {figure.floor:16} {held:8} {figure.what}")


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
    return Setting(base, sizes, options.style, options.pairs, options.trl_python)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description=benchmarks.training.__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES), metavar="T")
    parser.add_argument("--pairs", type=int, default=3, help="of runs, for each ratio of times")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--cache", type=Path, help="folder of base models")
    parser.add_argument("--facts", type=int, default=0, help="of most measures; 32 if left out")
    parser.add_argument("--style", "--prompt-style", choices=list(STYLES), default="kgfact")
    parser.add_argument("--threads", type=int, default=0, help="0 takes one for each core")
    parser.add_argument("--trl-python", type=Path, help="a python with trl 1.16 and peft, to compare with")
    parser.add_argument("--tiny", action="store_true", help="a random model, to see that all of it runs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
