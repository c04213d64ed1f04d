"""The catalog: the products of this installation, found where their users keep them.

They are found in three places, and all of them count:

- in a folder: the one that MLOPS_PRODUCTS_DIR names, else `products` in the working directory if it is there. Each of its
  files that makes a `ModelProduct`, or lists several as `CATALOG`, is imported by its plain name;
- where MLOPS_PRODUCTS says so: `package.module:NAME`, several by comma;
- in installed packages with an entry point of the group `mlops_assets.products`.

One that cannot be used hides no other: it is kept as `Broken`, with the sentence that says why.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from mlops_assets.addresses import reason
from mlops_assets.errors import BrokenProduct, DeclarationError, PlatformError, UnknownProduct
from mlops_assets.products.product import ModelProduct

LISTED, FOLDER = VARIABLES = "MLOPS_PRODUCTS", "MLOPS_PRODUCTS_DIR"
USUAL_FOLDER = "products"
GROUP = "mlops_assets.products"  # of entry points
# a file of the folder without either word declares nothing and is imported by those that need it
_DECLARES = re.compile(r"\b(ModelProduct|CATALOG)\b")


@dataclass(frozen=True)
class Broken:
    """A product that cannot be used. name: of its file or entry, as the product's own may not be known; place: of its file,
    if it has one."""

    name: str
    place: str
    sentence: str


@dataclass(frozen=True)
class Catalog:
    products: tuple[ModelProduct, ...] = ()
    broken: tuple[Broken, ...] = ()
    looked_in: str = ""

    def named(self, name: str) -> ModelProduct:
        """Raises UnknownProduct, with the names that exist. Raises BrokenProduct: its file cannot be used."""
        for product in self.products:
            if product.name == name:
                return product
        for broken in self.broken:
            if broken.name == name:
                raise BrokenProduct(broken.name, broken.place, broken.sentence)
        notes = [f"{broken.place} could not be used: {broken.sentence}" for broken in self.broken]
        if not self.products:
            notes.append(self.looked_in)
        raise UnknownProduct(name, [product.name for product in self.products], " ".join(notes))


@cache
def catalog() -> Catalog:
    """The catalog of this process, read once. Raises DeclarationError: MLOPS_PRODUCTS_DIR names no folder."""
    return find_products(os.environ, Path.cwd())


def product_named(name: str) -> ModelProduct:
    """Raises UnknownProduct, with the names that exist. Raises BrokenProduct: its file cannot be used."""
    return catalog().named(name)


def products_folder(environment: Mapping[str, str], working_directory: Path) -> Path | None:
    """Where product files lie, None for nowhere; an empty MLOPS_PRODUCTS_DIR means nowhere.

    Raises DeclarationError: MLOPS_PRODUCTS_DIR names no folder."""
    declared = environment.get(FOLDER)
    if declared is None:
        usual = working_directory / USUAL_FOLDER
        return usual if usual.is_dir() else None
    if not declared:
        return None
    folder = working_directory / declared
    if not folder.is_dir():
        raise DeclarationError(
            f"{folder} is no folder. Name the folder that holds your product files, by --products or {FOLDER}."
        )
    return folder


def find_products(environment: Mapping[str, str], working_directory: Path) -> Catalog:
    """Everything that the folder, MLOPS_PRODUCTS and installed packages declare.

    Raises DeclarationError: MLOPS_PRODUCTS_DIR names no folder."""
    folder = products_folder(environment, working_directory)
    found = [
        *(_in_folder(folder) if folder else ()),
        *_listed(environment.get(LISTED, "")),
        *_of_entry_points(),
    ]
    products = [item for item in found if isinstance(item, ModelProduct)]
    broken = [item for item in found if isinstance(item, Broken)]
    usable, doubled = _with_distinct_names(products)
    place = folder or working_directory / USUAL_FOLDER
    return Catalog(
        tuple(usable),
        (*broken, *doubled),
        f"Products are looked for in {place}, in {LISTED} and in entry points of the group {GROUP!r}: `mlops products` lists them, "
        "`mlops new NAME SOURCE` drafts one.",
    )


def products_of_file(file: Path) -> Catalog:
    """What one product file declares; the files beside it can be imported by their plain names."""
    if not file.is_file():
        broken = Broken(file.stem, shown_path(file), "there is no such file. Write it, or name another one.")
        return Catalog(broken=(broken,))
    _make_importable(file.parent)
    found = list(_loaded(file.stem, shown_path(file), partial(_from_file, file.stem, file)))
    usable, doubled = _with_distinct_names([item for item in found if isinstance(item, ModelProduct)])
    return Catalog(tuple(usable), (*(item for item in found if isinstance(item, Broken)), *doubled))


def _in_folder(folder: Path) -> Iterator[ModelProduct | Broken]:
    _make_importable(folder)
    for module in sorted(pkgutil.iter_modules([str(folder)]), key=lambda module: module.name):
        file = folder / module.name / "__init__.py" if module.ispkg else folder / f"{module.name}.py"
        if module.name.startswith("_") or not file.is_file():
            continue
        if _DECLARES.search(file.read_text(encoding="utf-8", errors="replace")):
            # one that only mentions the word, as a helper does that returns a product, declares none
            yield from _loaded(module.name, shown_path(file), partial(_from_file, module.name, file), may_be_none=True)


def _from_file(name: str, file: Path) -> object:
    importlib.invalidate_caches()
    spec = importlib.util.find_spec(name)
    origin = None if spec is None else spec.origin
    if origin is None or not Path(origin).exists() or not Path(origin).samefile(file):
        raise DeclarationError(
            f"Python knows another module {name!r} ({origin or 'built in'}) and would import that one. Rename the file."
        )
    return _declared_in(importlib.import_module(name))


def _listed(text: str) -> Iterator[ModelProduct | Broken]:
    for entry in filter(None, map(str.strip, text.split(","))):
        yield from _loaded(entry, f"{LISTED}={entry}", partial(_from_entry, entry))


def _from_entry(entry: str) -> object:
    module, colon, name = entry.partition(":")
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise DeclarationError(
                f"there is no module {error.name!r}. Install it, or add the folder that holds it to PYTHONPATH."
            ) from None
        raise
    except (ValueError, TypeError):  # "", "..", ".a"
        raise DeclarationError(f"{module!r} is no module. Write package.module:NAME.") from None
    if not colon:
        return _declared_in(loaded)
    if not hasattr(loaded, name):
        raise DeclarationError(f"module {module!r} has no {name!r}. Write package.module:NAME.")
    return getattr(loaded, name)


def _of_entry_points() -> Iterator[ModelProduct | Broken]:
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        yield from _loaded(
            point.name,
            f"entry point {point.name} = {point.value}",
            point.load,
        )


def _loaded(
    name: str, place: str, load: Callable[[], object], may_be_none: bool = False
) -> Iterator[ModelProduct | Broken]:
    """What `load` gives: a product, or several. Whatever goes wrong in a user's file is told as its sentence."""
    try:
        given = load()
        products = (given,) if isinstance(given, ModelProduct) else given
        if not isinstance(products, Sequence) or not all(isinstance(product, ModelProduct) for product in products):
            raise DeclarationError(
                f"a {type(given).__name__} stands there in place of a ModelProduct. Give one, or a tuple of them."
            )
        if not products and not may_be_none:
            raise DeclarationError(
                "it makes no ModelProduct. Make one at the top level of the file, or list it in CATALOG."
            )
        yield from products
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the files are the user's own)
        yield Broken(re.sub(r"\W+", "_", name, flags=re.ASCII), place, _sentence(error))


def _declared_in(module: ModuleType) -> Sequence[object]:
    """Its CATALOG, or else every product at its top level."""
    values = vars(module)
    if "CATALOG" in values:
        return values["CATALOG"]  # type: ignore[no-any-return] # whatever stands there is looked at by the caller
    return [value for value in values.values() if isinstance(value, ModelProduct)]


def _with_distinct_names(products: Sequence[ModelProduct]) -> tuple[list[ModelProduct], list[Broken]]:
    """One product that was found in several ways counts once; of several that share a name none is taken."""
    by_name: dict[str, dict[object, ModelProduct]] = {}
    for product in products:
        by_name.setdefault(product.name, {}).setdefault(product.declared_at, product)
    usable: list[ModelProduct] = []
    doubled: list[Broken] = []
    for name, same in by_name.items():
        if len(same) == 1:
            usable += same.values()
            continue
        places = [
            f"{shown_path(Path(product.declared_at.file))}:{product.declared_at.line}" for product in same.values()
        ]
        sentence = f"{len(places)} products are named {name!r}: {' and '.join(places)}. Rename all but one."
        doubled.append(Broken(name, places[0], sentence))
    return usable, doubled


def _sentence(error: BaseException) -> str:
    """The error, and where in the user's own file it was raised."""
    if isinstance(error, PlatformError):
        return reason(error)
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} (line {error.lineno} of {shown_path(Path(error.filename or ''))})."
    if isinstance(error, SystemExit):
        return "it ends the program that imports it (SystemExit). Take that out of the top level of the file."
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    where = f" (line {own[-1].lineno} of {shown_path(Path(own[-1].filename))})" if own else ""
    return f"{type(error).__name__}: {reason(error)}{where}."


def _is_machinery(file: str) -> bool:
    return file == __file__ or "importlib" in file


def shown_path(file: Path) -> str:
    """Short where it lies below the working directory."""
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


class _ProductFiles(MetaPathFinder):
    """Finds modules in a folder of products after all others, as if the folder stood last in `sys.path`.

    It is no entry of `sys.path`, which Dagster puts back to what it was once it has imported the code location: what a
    product imports only when it runs, such as its own estimator, would not be found any more."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [self.folder], target) if path is None else None

    def invalidate_caches(self) -> None:
        PathFinder.invalidate_caches()


def _make_importable(folder: Path) -> None:
    known = [finder.folder for finder in sys.meta_path if isinstance(finder, _ProductFiles)]
    if str(folder) not in known:
        sys.meta_path.append(_ProductFiles(str(folder)))
