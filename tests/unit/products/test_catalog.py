"""The catalog: products are found where users keep them, and one that is broken hides no other."""

import doctest
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import mlops_assets.errors
from examples.flights import air_time, flight_delay
from examples.flights.catalog import CATALOG
from mlops_assets.errors import BrokenProduct, DeclarationError, UnknownProduct, choices
from mlops_assets.products.catalog import Broken, Catalog, find_products, product_named, products_of_file

A_PRODUCT = """
from dataclasses import replace

from examples.flights import flight_delay as flights
from mlops_assets.products.product import ModelProduct

{name}: ModelProduct = replace(flights.flight_delay, name="{name}")
"""


class Project:
    """A working directory of a user, with product files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def declare(self, path: str, name: str) -> None:
        self.write(path, A_PRODUCT.format(name=name))

    def found(self, environment: Mapping[str, str] | None = None) -> Catalog:
        return find_products(environment or {}, self.root)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """What is imported from it is forgotten afterwards."""
    modules, finders = set(sys.modules), list(sys.meta_path)
    monkeypatch.chdir(tmp_path)
    yield Project(tmp_path)
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def names(catalog: Catalog) -> list[str]:
    return [product.name for product in catalog.products]


def test_a_product_is_found_by_its_name():
    assert [product_named(product.name) for product in CATALOG] == list(CATALOG)


def test_an_unknown_product_is_met_with_the_names_that_exist_and_the_closest():
    with pytest.raises(UnknownProduct) as caught:
        Catalog(CATALOG).named("fligth_delay")

    assert str(caught.value) == (
        "no product 'fligth_delay'. Known: air_time, flight_delay. Did you mean 'flight_delay'?"
    )
    assert (caught.value.name, caught.value.known) == ("fligth_delay", ("air_time", "flight_delay"))


def test_nothing_is_suggested_where_nothing_is_close():
    assert choices("zzz", ["roc_auc"]) == "Known: roc_auc."
    assert choices("zzz", []) == "Known: none."


def test_the_examples_of_the_errors_hold():
    assert doctest.testmod(mlops_assets.errors).failed == 0


@pytest.mark.parametrize("module", [flight_delay, air_time])
def test_a_product_is_one_short_file(module):
    lines = Path(inspect.getfile(module)).read_text().splitlines()

    assert len(lines) <= 60


def test_products_lie_in_the_folder_products_of_the_working_directory(project: Project):
    project.declare("products/churn.py", "churn")
    project.declare("products/a_package/__init__.py", "packed")

    found = project.found()

    assert names(found) == ["packed", "churn"]
    assert found.broken == ()


def test_a_product_knows_the_file_and_the_line_that_declare_it(project: Project):
    project.declare("products/churn.py", "churn")

    (product,) = project.found().products

    assert Path(product.declared_at.file) == project.root / "products" / "churn.py"
    assert product.declared_at.line == 7  # of `churn: ModelProduct = …` in A_PRODUCT


def test_another_folder_takes_the_place_of_the_usual_one(project: Project):
    project.declare("products/churn.py", "churn")
    project.declare("elsewhere/returns.py", "returns")

    assert names(project.found({"MLOPS_PRODUCTS_DIR": "elsewhere"})) == ["returns"]
    assert names(project.found({"MLOPS_PRODUCTS_DIR": str(project.root / "elsewhere")})) == ["returns"]
    assert names(project.found({"MLOPS_PRODUCTS_DIR": ""})) == []


def test_a_folder_that_is_named_and_not_there_is_said(project: Project):
    with pytest.raises(
        DeclarationError, match=r"nowhere is not a folder. Name the folder .* with --products or MLOPS_PRODUCTS_DIR"
    ):
        project.found({"MLOPS_PRODUCTS_DIR": "nowhere"})


def test_without_products_the_catalog_is_empty_and_an_unknown_name_says_where_they_are_looked_for(project: Project):
    with pytest.raises(UnknownProduct) as caught:
        project.found().named("churn")

    assert str(caught.value) == (
        f"no product 'churn'. Known: none. Products are searched in {project.root}/products, in MLOPS_PRODUCTS and in "
        "entry points of the group 'mlops_assets.products': `mlops products` lists them, `mlops new NAME SOURCE` drafts one."
    )


def test_a_file_may_list_products_that_others_declare(project: Project):
    project.write("products/flights.py", "from examples.flights.catalog import CATALOG\n")

    assert project.found().products == CATALOG


def test_a_file_that_declares_nothing_is_imported_only_by_those_that_need_it(project: Project):
    project.write("products/views.py", "raise RuntimeError('it needs a library that is not here')\n")
    project.write("products/_draft.py", "from mlops_assets.products.product import ModelProduct\nModelProduct()\n")
    project.declare("products/churn.py", "churn")

    found = project.found()

    assert (names(found), found.broken) == (["churn"], ())
    assert "views" not in sys.modules


def test_a_file_that_makes_products_for_others_declares_none(project: Project):
    helper = A_PRODUCT.replace(
        "{name}: ModelProduct = replace", "def of(name: str) -> ModelProduct:\n    return replace"
    )
    project.write("products/regional.py", helper.replace('"{name}"', "name"))
    project.write("products/regions.py", "from regional import of\n\nCATALOG = [of('north'), of('south')]\n")

    found = project.found()

    assert (names(found), found.broken) == (["north", "south"], ())


def test_a_single_file_that_is_named_has_to_declare_a_product(project: Project):
    project.declare("products/churn.py", "churn")
    project.write("products/none.py", "from mlops_assets.products.product import ModelProduct\n")

    assert names(products_of_file(project.root / "products" / "churn.py")) == ["churn"]
    for file, sentence in (
        ("none.py", "it creates no ModelProduct. Create one at the top"),
        ("lost.py", "the file does not exist."),
    ):
        (broken,) = products_of_file(project.root / "products" / file).broken
        assert broken.sentence.startswith(sentence)


def test_in_this_repository_the_flights_are_found():
    found = find_products({}, Path(__file__).parents[3])

    assert set(names(found)) >= {product.name for product in CATALOG}


def test_files_of_the_folder_find_one_another_also_when_the_search_path_was_put_back(project: Project):
    project.write("products/churn_helpers.py", "LIMIT = 3\n")
    project.write(
        "products/churn.py",
        A_PRODUCT.format(name="churn") + "\ndef late():\n    import churn_helpers\n    return churn_helpers.LIMIT\n",
    )
    before = list(sys.path)
    project.found()
    sys.path[:] = before  # as Dagster does once it has imported a code location

    assert sys.modules["churn"].late() == 3


def test_the_folder_never_stands_before_other_modules(project: Project):
    project.write("products/colorsys.py", "hidden = True\n")
    project.declare("products/churn.py", "churn")
    project.found()

    import colorsys  # of the standard library, not imported before

    assert not hasattr(colorsys, "hidden")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = ModelProduct(\n", "SyntaxError: '(' was never closed (line 1 of products/bad.py)."),
        (
            "from mlops_assets.products.product import ModelProduct\n\ndef half():\n    return 1 / 0\n\nhalf()\n",
            "ZeroDivisionError: division by zero (line 4 of products/bad.py).",
        ),
        ("import nowhere_at_all  # ModelProduct\n", "ModuleNotFoundError: No module named 'nowhere_at_all' (line 1 of"),
        ("raise SystemExit(3)  # ModelProduct\n", "it ends the program that imports it (SystemExit)."),
        ("CATALOG = {'a': 1}\n", "it is a dict and not a ModelProduct. Give one ModelProduct, or a tuple of them."),
        ("CATALOG = ('churn',)\n", "it is a tuple and not a ModelProduct."),
        (A_PRODUCT.format(name="Churn"), "product name 'Churn' becomes part of keys, routes and folders: use lower-case"),
    ],
)  # fmt: skip
def test_a_broken_file_is_kept_with_its_sentence_and_hides_no_other(project: Project, text: str, sentence: str):
    project.write("products/bad.py", text)
    project.declare("products/churn.py", "churn")

    found = project.found()

    assert names(found) == ["churn"]
    (broken,) = found.broken
    assert (broken.name, broken.place) == ("bad", "products/bad.py")
    assert broken.sentence.startswith(sentence)


def test_who_asks_for_a_broken_product_is_told_its_fault(project: Project):
    catalog = Catalog(broken=(Broken("churn", "products/churn.py", "SyntaxError: invalid syntax (line 2)."),))

    with pytest.raises(
        BrokenProduct, match=r"products/churn.py cannot be used: SyntaxError: invalid syntax \(line 2\)\."
    ):
        catalog.named("churn")
    # its product may be named otherwise than its file
    with pytest.raises(UnknownProduct, match=r"no product 'churned'.*products/churn.py could not be used: SyntaxError"):
        catalog.named("churned")


def test_two_products_of_one_name_are_told_with_both_places_and_neither_is_taken(project: Project):
    project.declare("products/one.py", "churn")
    project.declare("products/two.py", "churn")
    project.declare("products/other.py", "returns")

    found = project.found()

    assert names(found) == ["returns"]
    assert [broken.sentence for broken in found.broken] == [
        "2 products are named 'churn': products/one.py:7 and products/two.py:7. Rename all but one."
    ]


def test_a_product_that_is_found_twice_counts_once(project: Project):
    project.declare("products/churn.py", "churn")
    project.write("products/again.py", "from churn import churn\n\nCATALOG = [churn]\n")

    found = project.found({"MLOPS_PRODUCTS": "churn:churn"})

    assert (names(found), found.broken) == (["churn"], ())


def test_a_file_with_the_name_of_another_module_is_told_to_take_another(project: Project):
    project.declare("products/random.py", "churn")

    (broken,) = project.found().broken

    assert broken.sentence.startswith("Python finds another module 'random' (")
    assert broken.sentence.endswith("random.py) and would import that one. Rename the file.")


def test_products_are_named_by_module_and_variable(project: Project, monkeypatch: pytest.MonkeyPatch):
    project.declare("code/shop.py", "churn")
    monkeypatch.syspath_prepend(project.root / "code")

    both = project.found({"MLOPS_PRODUCTS": "shop:churn, examples.flights.catalog:CATALOG,"})
    of_a_module = project.found({"MLOPS_PRODUCTS": "examples.flights.air_time"})

    assert names(both) == ["churn", "flight_delay", "air_time"]
    assert names(of_a_module) == ["air_time"]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            "nowhere.shop:churn",
            "there is no module 'nowhere'. Install it, or add the folder that holds it to PYTHONPATH.",
        ),
        ("examples.nowhere:churn", "there is no module 'examples.nowhere'. Install it, or add the folder that"),
        (
            "examples.flights.catalog:CATALOGUE",
            "module 'examples.flights.catalog' has no 'CATALOGUE'. Write package.mod",
        ),
        (":churn", "'' is not the name of a module. Write package.module:NAME."),
        ("os.path:join", "it is a function and not a ModelProduct."),
    ],
)
def test_an_entry_that_leads_to_no_product_is_told(project: Project, entry: str, sentence: str):
    found = project.found({"MLOPS_PRODUCTS": f"examples.flights.air_time:air_time,{entry}"})

    assert names(found) == ["air_time"]
    (broken,) = found.broken
    assert broken.place == f"MLOPS_PRODUCTS={entry}"
    assert broken.sentence.startswith(sentence)


def test_installed_packages_bring_products_by_entry_points(project: Project, monkeypatch: pytest.MonkeyPatch):
    project.declare("site/shop.py", "churn")
    project.write("site/shop-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    project.write(
        "site/shop-1.0.dist-info/entry_points.txt",
        "[mlops_assets.products]\nshop = shop:churn\nlost = shop:returns\n",
    )
    monkeypatch.syspath_prepend(project.root / "site")

    found = project.found()

    assert names(found) == ["churn"]
    (broken,) = found.broken
    assert (broken.name, broken.place) == ("lost", "entry point lost = shop:returns")
    assert broken.sentence.startswith("AttributeError: module 'shop' has no attribute 'returns'")
