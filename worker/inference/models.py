"""What the inference process has loaded: one base model, and the adapters that were asked last.

Adapters lie beside each other on the base model and are switched by peft, so its weights are never
changed. All of this belongs to one thread.
"""

import gc
import logging
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel

from app.inference.wire import AskedAdapter, AskedBase
from app.settings import Settings
from app.storage import ArtifactStore, CorruptBlobError
from mixsd.errors import CorruptError, ModelError, UnsafeWeightsError
from mixsd.models.check import check_safetensors, read_object
from mixsd.models.fitting import check_base
from mixsd.models.load import Base, load_base, use_threads
from mixsd.models.registry import default_cache
from mixsd.models.store import pull
from mixsd.packaging import CONFIG, MANIFEST, WEIGHTS

log = logging.getLogger(__name__)

_NEEDED: Final = (WEIGHTS, CONFIG, MANIFEST)


@dataclass(frozen=True, slots=True)
class BaseKey:
    id: str
    revision: str | None


@dataclass(frozen=True, slots=True)
class AdapterKey:
    """Names an adapter by what it is: the same weights are loaded once. Without any it is none."""

    base: BaseKey
    digests: tuple[str, ...]

    @property
    def is_base(self) -> bool:
        """Whether the base model is meant by itself."""
        return not self.digests


def key_of(asked: AskedAdapter | AskedBase) -> AdapterKey:
    """Name an adapter, or a base model by itself.

    Raises:
        CorruptError: It lacks a file without which it cannot be loaded.
    """
    if isinstance(asked, AskedBase):
        return AdapterKey(BaseKey(asked.base_model, asked.base_revision), ())
    missing = [name for name in _NEEDED if name not in asked.files]
    if missing:
        raise CorruptError(f"adapter {asked.id} has no {missing[0]}")
    base = BaseKey(asked.base_model, asked.base_revision)
    return AdapterKey(base, tuple(asked.files[name] for name in _NEEDED))


class Room:
    """Holds one base model and at most so many adapters. The least recently asked make room."""

    def __init__(self, settings: Settings, store: ArtifactStore) -> None:
        self._settings = settings
        self._store = store
        self._most = settings.inference_adapters
        self._base: Base | None = None
        self._key: BaseKey | None = None
        self._model: PeftModel | None = None
        self._names: OrderedDict[AdapterKey, str] = OrderedDict()
        self._count = 0

    @property
    def adapters(self) -> tuple[AdapterKey, ...]:
        """What is loaded, the least recently asked first."""
        return tuple(self._names)

    @property
    def base(self) -> Base:
        if self._base is None:
            raise RuntimeError("no base model is loaded")
        return self._base

    @property
    def model(self) -> PeftModel:
        if self._model is None:
            raise RuntimeError("no adapter is loaded")
        return self._model

    def takes(self, key: AdapterKey, busy: Collection[AdapterKey]) -> bool:
        """Say whether an adapter can be loaded, or is, while others are being asked.

        The first one on a base model is not while that is asked by itself: one that cannot be loaded
        would take the base model along.
        """
        if key in self._names or not busy:
            return True
        if key.is_base or key.base != self._key:
            return key.base == self._key
        return self._model is not None and sum(not other.is_base for other in busy) < self._most

    def load(self, asked: AskedAdapter | AskedBase, busy: Collection[AdapterKey]) -> AdapterKey:
        """Have an adapter at hand with its base model, or that alone. See `takes`.

        Raises:
            ModelError: The base model cannot be had, or the adapter does not fit it.
            CorruptError: A file is missing or not what its digest says.
            OutOfMemoryError: The device is too small.
        """
        key = key_of(asked)
        if isinstance(asked, AskedBase):
            self._load_base(key.base)
            return key
        if key not in self._names:
            self._load_base(key.base)
            with tempfile.TemporaryDirectory(prefix="mixsd-adapter-") as folder:
                self._fetch(asked, Path(folder))
                _check(Path(folder), self.base)
                self._add(key, Path(folder))
            self._make_room(busy)
        self._names.move_to_end(key)
        return key

    @contextmanager
    def using(self, key: AdapterKey | None) -> Generator[Any]:
        """Lay an adapter on the base model, or none, while the block runs. Yields what is to be asked."""
        if key is None and self._model is None:
            yield self.base.model
        elif key is None:
            with self.model.disable_adapter():
                yield self.model
        else:
            _switch(self.model, self._names[key])
            yield self.model

    def unload(self) -> None:
        """Give all memory back."""
        self._base = self._key = self._model = None
        self._names.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _load_base(self, key: BaseKey) -> None:
        if key == self._key:
            return
        self.unload()
        settings = self._settings
        use_threads(settings.threads)
        found = pull(
            key.id,
            cache=settings.model_cache or default_cache(),
            revision=key.revision,
            allowed=settings.allowed_models,
        )
        self._base = load_base(found, device=settings.inference_device or settings.device)
        self._key = key
        log.info("loaded %s at %s", key.id, key.revision)

    def _fetch(self, asked: AskedAdapter, folder: Path) -> None:
        """Copy the files out of the store, which checks their digests."""
        for name in _NEEDED:
            try:
                with self._store.open(asked.files[name]) as blob, (folder / name).open("wb") as file:
                    shutil.copyfileobj(blob, file)
            except (FileNotFoundError, CorruptBlobError, ValueError) as error:
                raise CorruptError(f"{name} of adapter {asked.id} is not what was stored") from error

    def _add(self, key: AdapterKey, folder: Path) -> None:
        name = f"a{self._count}"
        self._count += 1
        try:
            if self._model is None:
                self._model = PeftModel.from_pretrained(self.base.model, str(folder), adapter_name=name)
            else:
                self._model.load_adapter(str(folder), adapter_name=name)
        except (ValueError, RuntimeError, KeyError, TypeError) as error:
            self._take_off(name)
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise ModelError(f"the adapter does not fit {key.base.id}: {error}") from error
        self._model.eval()
        _switch(self._model, name)
        self._names[key] = name

    def _take_off(self, name: str) -> None:
        """Leave nothing of an adapter that could not be loaded."""
        if self._model is None:  # the layers of the base model may have been changed already
            self.unload()
        elif name in self._model.peft_config:
            self._model.delete_adapter(name)

    def _make_room(self, busy: Collection[AdapterKey]) -> None:
        """Take off what was not asked for longest. The one that was just loaded is the newest."""
        *older, _ = self._names
        for key in [key for key in older if key not in busy][: max(0, len(self._names) - self._most)]:
            self.model.delete_adapter(self._names.pop(key))


def _switch(model: PeftModel, name: str) -> None:
    switch: Any = model.set_adapter
    switch(name, inference_mode=True)


def _check(folder: Path, base: Base) -> None:
    """Refuse weights that are no plain numbers, and those of another base model.

    Raises:
        UnsafeWeightsError: The weights are no sound safetensors file.
        ModelError: The adapter belongs to another model or revision.
        TemplateMismatchError: It learned prompts of another chat template.
    """
    check_safetensors(folder / WEIGHTS)
    config, manifest = read_object(folder / CONFIG), read_object(folder / MANIFEST)
    if config.get("peft_type") != "LORA" or config.get("auto_mapping"):
        raise UnsafeWeightsError("the adapter is no plain LoRA")
    check_base(manifest, base)
