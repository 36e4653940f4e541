"""A file of `python -m colorjax.export`, ready to colour without the code of the networks."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jax.sharding import Mesh

from colorjax import files
from colorjax.colorize import batching
from colorjax.colorize.library import PhotoColorizer
from colorjax.colorize.running import PictureColorizer, Raw
from colorjax.data.tokenizer import Tokenizer
from colorjax.devices import precision
from colorjax.errors import UserError, first_line, one_of
from colorjax.export import manifest
from colorjax.export.archive import Archive
from colorjax.inputs import AUTO, Pictures, Value, refuse_foreign
from colorjax.maths.types import Params

_ADVICE = "export it again"
_ODD = (AttributeError, LookupError, TypeError, ValueError)
_TYPES = {"F16": np.float16, "F32": np.float32, "BF16": jnp.bfloat16}


class ExportedColorizer(PictureColorizer):
    """The programs of a file. Each is compiled when it is first needed."""

    def __init__(self, path: Path) -> None:
        """Reads a file, all of which is compared with its checksums before anything is made of it.

        Raises:
            UserError: it is damaged, of another format, or not for this machine's devices.
        """
        self._archive = Archive(path)
        about = self._archive.manifest
        files.check_json(about, manifest.SCHEMA, path, _ADVICE)
        for contradiction in manifest.contradictions(about):
            raise UserError(f"'{path}' cannot be used ({contradiction}); {_ADVICE}")
        self.digest: str = about["release"]
        self._platform = platform()
        if self._platform not in about["platforms"]:
            raise UserError(
                f"'{path}' was exported for {', '.join(about['platforms'])}, and this is "
                f"{self._platform}: export it with --platforms {self._platform}"
            )
        self.methods = [manifest.table_of(data) for data in about["methods"]]
        (self.method,) = [table for table in self.methods if table.name == about["method"]]
        self.settings = dict(about["settings"])
        self._as_exported = dict(about["settings"])
        self.buckets = tuple((height, width) for height, width in about["buckets"])
        self.batch_size, self.image_size = about["batch_size"], about["image_size"]
        self.dtype: str = about["dtype"]
        self.tokenize = self._tokenizer()
        self._parts = {manifest.key_of(row): row["part"] for row in about["programs"]}
        self.has_ranker = any(row["name"] == "candidates" for row in about["programs"])
        self._compiled: dict[str, Any] = {}  # shared by all copies
        self._params = {name: self._weights(part) for name, part in about["weights"].items()}

    @property
    def compilations(self) -> int:
        """How many programs were compiled so far, by this colorizer and its copies."""
        return sum(program._cache_size() for program in self._compiled.values())

    def enhance(self, pictures: Pictures) -> Raw:
        """Is refused: there are no such programs in a file."""
        raise self._without("faded pictures")

    def starting_times(self, faded: Raw) -> np.ndarray:
        """Is refused, as `enhance`."""
        raise self._without("faded pictures")

    def _without(self, what: str, advice: str = "load a release for that") -> UserError:
        return UserError(f"'{self._archive.path}' has no programs for {what}: {advice}")

    def _check(self, values: Mapping[str, Value]) -> None:
        for name, sentence in self._archive.manifest["refused"].items():
            if values[name] != self._as_exported[name]:
                raise UserError(sentence.replace("{value}", str(values[name])))
        if values["vividness"] == AUTO and not self.has_ranker:
            raise self._without("vividness 'auto'", _include(AUTO))

    def _run(self, name: str, pictures: Pictures) -> Any:
        filled = self._filled(pictures)
        program, filled = self._program(name, filled)
        inputs = {field: getattr(filled, field) for field in manifest.fields_of(filled)}
        params = dict(self._params)
        if name != "candidates":
            params.pop("ranker", None)
        results = program(params, inputs)
        count = len(pictures.lightness)
        return jax.tree.map(lambda rows: np.asarray(rows)[:count], results)

    def _program(self, name: str, filled: Pictures) -> tuple[Callable[..., Any], Pictures]:
        """The program for what there is of pictures, and what it takes of them.

        Where it is not there, the one that has all traced numbers: at a number's neutral value it
        computes the same.
        """
        part = self._part(name, filled)
        if part is None and name == "colorize":
            filled = self._with_all_numbers(filled)
            part = self._part(name, filled)
        if filled.spans is not None and filled.spans.shape[1] > batching.PHRASES:
            raise self._without(f"more than {batching.PHRASES} phrases", "name fewer things")
        if part is None:
            what = "masks" if filled.masks is not None else "attention"
            raise self._without(f"{what!r}", _include(what))
        if part not in self._compiled:
            self._compiled[part] = self._deserialised(part)
        return self._compiled[part], filled

    def _part(self, name: str, filled: Pictures) -> str | None:
        count, height, width = filled.lightness.shape[:3]
        sizes = {"name": name, "count": count, "height": height, "width": width}
        return self._parts.get(manifest.key_of({**sizes, "fields": manifest.fields_of(filled)}))

    def _with_all_numbers(self, filled: Pictures) -> Pictures:
        rows = [row for row in self.method.settings if row.traced and row.kind is float]
        numbers = {
            row.name: np.float32(row.default if row.neutral is None else row.neutral)
            for row in rows
            if getattr(filled, row.name) is None
        }
        negative = self.tokenize([str(self.settings["negative_prompt"])])
        uncond = np.repeat(negative, len(filled.lightness), axis=0)
        return filled._replace(uncond_input_ids=uncond, **numbers)

    def _deserialised(self, part: str) -> Any:
        data = self._archive.read(part)
        try:
            exported = jax.export.deserialize(bytearray(data))
        except Exception as error:  # what it raises about another version has no type of its own
            about = self._archive.manifest
            raise UserError(
                f"'{self._archive.path}' was exported by jax {about['jax']}, and this is jax "
                f"{jax.__version__}, which cannot read it ({first_line(error)}); {_ADVICE}"
            ) from error
        if not _computes_only(exported.mlir_module_serialized):
            raise UserError(
                f"'{self._archive.path}' has a program that calls code outside of it, which none "
                f"of python -m colorjax.export does; {_ADVICE}"
            )
        return jax.jit(exported.call)

    def _weights(self, part: str) -> Params:
        import safetensors

        read: Any = safetensors.deserialize  # its readers for NumPy know no bfloat16

        flat = {}
        try:
            for name, leaf in read(self._archive.read(part)):
                array = np.frombuffer(leaf["data"], _TYPES[leaf["dtype"]]).reshape(leaf["shape"])
                # Half precision is how single precision is stored where that loses nothing.
                flat[name] = array.astype(np.float32) if array.dtype == np.float16 else array
            tree: Params = unflatten_dict(flat, sep="/")  # type: ignore[no-untyped-call]
        except (safetensors.SafetensorError, *_ODD) as error:
            raise UserError(
                f"'{self._archive.path}' has weights that are none ({first_line(error)}); {_ADVICE}"
            ) from error
        return batching.moved(tree)

    def _tokenizer(self) -> Tokenizer:
        about = self._archive.manifest["tokenizer"]
        with tempfile.TemporaryDirectory(prefix="colorjax-") as folder:
            for part in about["files"]:
                (Path(folder) / Path(part).name).write_bytes(self._archive.read(part))
            return Tokenizer(folder, about["max_length"], about["most_ids"])


def _computes_only(module: bytes) -> bool:
    """Whether a program only computes with its inputs.

    By a custom call one could reach functions of the process that run it, such as the one by which
    a program calls Python. In MLIR's bytecode names are spelt out; text, which could spell them
    otherwise, is no program of ours.
    """
    return module.startswith(b"ML\xefR") and b"custom_call" not in module


def load(
    path: Path,
    method: str | None = None,
    *,
    mesh: str | Mesh | None = None,
    dtype: str = precision.AUTO,
    **settings: Value,
) -> PhotoColorizer:
    """A file's colorizer; arguments as `colorjax.load`, of which a file fixes most.

    Raises:
        UserError: the file cannot be used, or it was exported with another value.
    """
    colorizer = ExportedColorizer(path)
    table, name = colorizer.method, path.name
    if method not in (None, table.name):
        raise UserError(f"method is {method!r}, but '{name}' is of {table.name}; leave it out")
    if mesh is not None:
        raise UserError(f"'{name}' runs on one device; leave mesh out, or load a release")
    one_of("dtype", dtype, precision.DTYPES)
    if dtype not in (precision.AUTO, colorizer.dtype):
        raise UserError(f"dtype is {dtype}, but '{name}' computes in {colorizer.dtype}")
    refuse_foreign(table, settings, colorizer.methods)
    traced = {}
    for row in table.settings:
        if row.name not in settings:
            continue
        value, fixed = row.parse(settings[row.name]), colorizer.settings[row.name]
        if row.traced:
            traced[row.name] = value
        elif value != fixed:
            raise UserError(
                f"{row.name} is {value}, but '{name}' was exported with {fixed}; export it again "
                f"with --{row.name}={value}"
            )
    return PhotoColorizer(colorizer.changed(**traced), str(path), colorizer.digest)


def platform() -> str:
    """What jax exports programs for, of this process's devices."""
    name = jax.default_backend()
    if name != "gpu":
        return name
    return "rocm" if "rocm" in jax.devices()[0].client.platform_version.lower() else "cuda"


def _include(what: str) -> str:
    return f"export it with --include {what}"
