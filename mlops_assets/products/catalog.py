"""The catalog: the products of this installation, collected from the places where users keep them.

There are three such places, and all of them are read:

- a folder: the one that MLOPS_PRODUCTS_DIR names, else `products` in the working directory if it exists. Each of its
  files that creates a `ModelProduct`, or lists several as `CATALOG`, is imported by its plain name;
- MLOPS_PRODUCTS: `package.module:NAME`, several separated by commas;
- installed packages with an entry point in the group `mlops_assets.products`.

A product that cannot be used does not hide the others: it is listed as `Broken`, with a sentence that says why.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
# a file in the folder that contains neither word declares no product and is only imported by other files
_DECLARES = re.compile(r"\b(ModelProduct|CATALOG)\b")


@dataclass(frozen=True)
class Broken:
    """A product that cannot be used. name: the name of its file or entry, as the product's own name may be unknown;
    place: the file or the entry."""

    name: str
    place: str
    sentence: str


@dataclass(frozen=True)
class Catalog:
    products: tuple[ModelProduct, ...] = ()
    broken: tuple[Broken, ...] = ()
    search_hint: str = ""

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
            notes.append(self.search_hint)
        raise UnknownProduct(name, [product.name for product in self.products], " ".join(notes))


@cache
def catalog() -> Catalog:
    """The catalog of this process, read once. Raises DeclarationError: MLOPS_PRODUCTS_DIR names no folder."""
    return find_products(os.environ, Path.cwd())


def product_named(name: str) -> ModelProduct:
    """Raises UnknownProduct, with the names that exist. Raises BrokenProduct: its file cannot be used."""
    return catalog().named(name)


def products_folder(environment: Mapping[str, str], working_directory: Path) -> Path | None:
    """The folder of the product files; None where there is none. An empty MLOPS_PRODUCTS_DIR means none.

    Raises DeclarationError: MLOPS_PRODUCTS_DIR names no folder."""
    declared = environment.get(FOLDER)
    if declared is None:
        default = working_directory / USUAL_FOLDER
        return default if default.is_dir() else None
    if not declared:
        return None
    folder = working_directory / declared
    if not folder.is_dir():
        raise DeclarationError(
            f"{folder} is not a folder. Name the folder that holds your product files with --products or {FOLDER}."
        )
    return folder


def find_products(environment: Mapping[str, str], working_directory: Path) -> Catalog:
    """Everything that the folder, MLOPS_PRODUCTS and installed packages declare.

    Raises DeclarationError: MLOPS_PRODUCTS_DIR names no folder."""
    folder = products_folder(environment, working_directory)
    declarations = [
        *(_read_folder(folder) if folder else ()),
        *_read_list(environment.get(LISTED, "")),
        *_read_entry_points(),
    ]
    place = folder or working_directory / USUAL_FOLDER
    return _catalog_of(
        declarations,
        f"Products are searched in {place}, in {LISTED} and in entry points of the group {GROUP!r}: `mlops products` lists them, "
        "`mlops new NAME SOURCE` drafts one.",
    )


def products_of_file(file: Path) -> Catalog:
    """What one product file declares; the files beside it can be imported by their plain names."""
    if not file.is_file():
        broken = Broken(file.stem, shown_path(file), "the file does not exist. Write it, or name another one.")
        return Catalog(broken=(broken,))
    _make_importable(file.parent)
    return _catalog_of(_load(file.stem, shown_path(file), partial(_import_file, file.stem, file)))


def _catalog_of(declarations: Iterable[ModelProduct | Broken], search_hint: str = "") -> Catalog:
    products: list[ModelProduct] = []
    broken: list[Broken] = []
    for item in declarations:
        if isinstance(item, Broken):
            broken.append(item)
        else:
            products.append(item)
    usable, duplicates = _with_distinct_names(products)
    return Catalog(tuple(usable), (*broken, *duplicates), search_hint)


def _read_folder(folder: Path) -> Iterator[ModelProduct | Broken]:
    _make_importable(folder)
    for module in sorted(pkgutil.iter_modules([str(folder)]), key=lambda module: module.name):
        file = folder / module.name / "__init__.py" if module.ispkg else folder / f"{module.name}.py"
        if module.name.startswith("_") or not file.is_file():
            continue
        if _DECLARES.search(file.read_text(encoding="utf-8", errors="replace")):
            # a helper that only returns a product contains the word too, and declares none
            yield from _load(module.name, shown_path(file), partial(_import_file, module.name, file), may_be_empty=True)


def _import_file(name: str, file: Path) -> object:
    importlib.invalidate_caches()
    spec = importlib.util.find_spec(name)
    origin = None if spec is None else spec.origin
    if origin is None or not Path(origin).exists() or not Path(origin).samefile(file):
        raise DeclarationError(
            f"Python finds another module {name!r} ({origin or 'built in'}) and would import that one. Rename the file."
        )
    return _products_of_module(importlib.import_module(name))


def _read_list(text: str) -> Iterator[ModelProduct | Broken]:
    for entry in filter(None, map(str.strip, text.split(","))):
        yield from _load(entry, f"{LISTED}={entry}", partial(_import_entry, entry))


def _import_entry(entry: str) -> object:
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
        raise DeclarationError(f"{module!r} is not the name of a module. Write package.module:NAME.") from None
    if not colon:
        return _products_of_module(loaded)
    if not hasattr(loaded, name):
        raise DeclarationError(f"module {module!r} has no {name!r}. Write package.module:NAME.")
    return getattr(loaded, name)


def _read_entry_points() -> Iterator[ModelProduct | Broken]:
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        yield from _load(point.name, f"entry point {point.name} = {point.value}", point.load)


def _load(
    name: str, place: str, load: Callable[[], object], may_be_empty: bool = False
) -> Iterator[ModelProduct | Broken]:
    """The product, or the products, that `load` returns. Any error of a user's file becomes a sentence."""
    try:
        value = load()
        products = (value,) if isinstance(value, ModelProduct) else value
        if not isinstance(products, Sequence) or not all(isinstance(product, ModelProduct) for product in products):
            raise DeclarationError(
                f"it is a {type(value).__name__} and not a ModelProduct. Give one ModelProduct, or a tuple of them."
            )
        if not products and not may_be_empty:
            raise DeclarationError(
                "it creates no ModelProduct. Create one at the top level of the file, or list it in CATALOG."
            )
        yield from products
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the files are the user's own)
        yield Broken(re.sub(r"\W+", "_", name, flags=re.ASCII), place, _sentence(error))


def _products_of_module(module: ModuleType) -> Sequence[object]:
    """Its CATALOG, or else every product at its top level."""
    values = vars(module)
    if "CATALOG" in values:
        return values["CATALOG"]  # type: ignore[no-any-return] # the caller checks its type
    return [value for value in values.values() if isinstance(value, ModelProduct)]


def _with_distinct_names(products: Sequence[ModelProduct]) -> tuple[list[ModelProduct], list[Broken]]:
    """A product that several places list counts once. Different products of the same name are all broken."""
    by_name: dict[str, dict[object, ModelProduct]] = {}
    for product in products:
        by_name.setdefault(product.name, {}).setdefault(product.declared_at, product)
    usable: list[ModelProduct] = []
    duplicates: list[Broken] = []
    for name, namesakes in by_name.items():
        if len(namesakes) == 1:
            usable += namesakes.values()
            continue
        places = [
            f"{shown_path(Path(product.declared_at.file))}:{product.declared_at.line}" for product in namesakes.values()
        ]
        sentence = f"{len(places)} products are named {name!r}: {' and '.join(places)}. Rename all but one."
        duplicates.append(Broken(name, places[0], sentence))
    return usable, duplicates


def _sentence(error: BaseException) -> str:
    """The error, and where in the user's own file it was raised."""
    if isinstance(error, PlatformError):
        return reason(error)
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} (line {error.lineno} of {shown_path(Path(error.filename or ''))})."
    if isinstance(error, SystemExit):
        return "it ends the program that imports it (SystemExit). Remove that from the top level of the file."
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    where = f" (line {own[-1].lineno} of {shown_path(Path(own[-1].filename))})" if own else ""
    return f"{type(error).__name__}: {reason(error)}{where}."


def shown_path(file: Path) -> str:
    """Relative to the working directory where the file lies below it."""
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


class _ProductFiles(MetaPathFinder):
    """Finds modules in a folder of products after all others, as if the folder were the last entry of `sys.path`.

    A real entry would not last: Dagster restores `sys.path` once it has imported the code location, and a product could
    no longer import what it needs only when it runs, such as its own estimator."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [self.folder], target) if path is None else None

    def invalidate_caches(self) -> None:
        PathFinder.invalidate_caches()


def _make_importable(folder: Path) -> None:
    if str(folder) not in [finder.folder for finder in sys.meta_path if isinstance(finder, _ProductFiles)]:
        sys.meta_path.append(_ProductFiles(str(folder)))
