"""The rules of the house, as tests."""

import ast
import csv
import inspect
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from unmask import catalogue

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "unmask"
FILES = sorted(
    file for folder in ("src", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")
)
SOURCES = [file for file in FILES if PACKAGE in file.parents]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = SETTINGS["tool"]["importlinter"]["contracts"]
ENTRIES = catalogue.methods()
SUBJECTS = {"score", "model", "game", "games", "terms", "history"} | {
    *("x", "data", "labels", "concept", "contrast"),
    *("trial", "attribution", "kinds"),
}
EXTRAS: set[str] = {
    "spot_shortcuts",
    "correct_reasons",
    "find_label_errors",
    "label_errors_found",
    "prune_units",
    "data_randomization",
    "efficient_mprt",
    "input_invariance",
    "parameter_randomization",
    "random_logit",
    "smooth_mprt",
    *("completeness_gap", "contribution_fidelity", "faithfulness_correlation"),
    *("faithfulness_estimate", "infidelity", "logic_fidelity", "monotonicity"),
    *("monotonicity_correlation", "non_sensitivity", "removal_infidelity", "sensitivity_n"),
    "surrogate_r2",
    *("comprehensiveness", "deletion", "insertion", "irof", "road", "road_combined", "roar"),
    "sufficiency",
    *("average_sensitivity", "continuity", "implementation_invariance", "local_lipschitz"),
    *("max_sensitivity", "neighbour_similarity", "relative_output_stability"),
    *("relative_representation_stability", "relative_stability", "run_to_run"),
    *("attribution_entropy", "effective_complexity", "gini"),
    *("attribution_iou", "focus", "localization_auc", "pointing_game"),
    *("relevance_mass", "relevance_rank", "top_k_intersection"),
    "best_partition",
    "bottleneck",
    "interaction_flow",
    "interaction_tree_nodes",
    "learning_epochs",
    "learning_curves",
    "pixel_flipping",
    "ablation",
    "ablation_cam",
    "and_or_graph_complexity",
    "acd",
    "attnlrp",
    "cp_lrp",
    "attention_rollout",
    "blur_integrated_gradients",
    "deep_taylor",
    "deeplift_reveal_cancel",
    "expected_gradients",
    "extremal_areas",
    "extremal_perturbation",
    "first_order",
    "flipping_set",
    "grad_cam_plus_plus",
    "guided_integrated_gradients",
    "hires_cam",
    "ice_derivative",
    "idgi",
    "inclusion",
    "information_difference",
    "input_x_gradient",
    "layer_cam",
    "leverage_shap",
    "occlusion",
    "permutation_importance",
    "permutation_shapley",
    "phase_two_begun",
    "probability_difference",
    "rise",
    "score_cam",
    "shapley_coefficients",
    "shapley_feature_importance",
    "shapley_values",
    "smallest_flipping_set",
    "smoothgrad_squared",
    "transferability_models",
    "vargrad",
    "word_reliability",
    "x_grad_cam",
}
"""Methods that are no row of the atlas, and known to be none."""

each_method = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
each_file = pytest.mark.parametrize(
    "file", FILES, ids=[str(file.relative_to(ROOT)) for file in FILES]
)


def linted(folder):
    """What import-linter says of the package in a folder."""
    tool = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [tool, "--config", ROOT / "pyproject.toml", "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def verdicts(output):
    """Contract -> whether it was kept."""
    found = re.findall(r"^(.*) (KEPT|BROKEN)\b", output, re.MULTILINE)
    return {name.strip(): word == "KEPT" for name, word in found}


def test_imports_go_down():
    done = linted(ROOT / "src")
    assert done.returncode == 0, done.stdout
    assert verdicts(done.stdout) == {contract["name"]: True for contract in CONTRACTS}


def test_every_contract_fails_when_it_is_broken(tmp_path):
    house = tmp_path / "unmask"
    shutil.copytree(PACKAGE, house, ignore=shutil.ignore_patterns("__pycache__"))
    guests = [name for c in CONTRACTS for name in c.get("forbidden_modules", ())]
    with (house / "score.py").open("a") as score:  # no guest may come in here
        score.writelines(f"import {guest}.something\n" for guest in guests)
    with (house / "lattice.py").open("a") as lattice:
        lattice.write("from unmask.game import Game\n")
    family = house / "methods" / "another"
    family.mkdir()
    (family / "__init__.py").write_text("import unmask.methods.saliency\n")
    done = linted(tmp_path)
    assert done.returncode == 1
    assert verdicts(done.stdout) == {contract["name"]: False for contract in CONTRACTS}


def test_a_file_without_a_floor_is_an_error(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "unmask", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "unmask" / "cellar.py").write_text("")
    done = linted(tmp_path)
    assert done.returncode == 1
    assert "unmask.cellar" in done.stdout


def test_importing_the_nouns_imports_nothing_else():
    code = "import sys, unmask; print(*(sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    guests = {name for c in CONTRACTS for name in c.get("forbidden_modules", ())}
    assert not loaded & guests
    floors = CONTRACTS[0]["layers"]
    first = next(i for i, floor in enumerate(floors) if "masking" in floor)
    nouns = {room.strip() for floor in floors[first:] for room in floor.split("|")}
    rooms = {name.split(".")[1] for name in loaded if name.startswith("unmask.")}
    assert rooms <= nouns, rooms - nouns


@each_method
def test_a_method_cites_its_papers(entry):
    assert entry.papers
    for key in entry.papers:
        assert catalogue.cite(key)


def test_every_paper_is_cited():
    cited = {key for entry in ENTRIES.values() for key in entry.papers}
    text = "\n".join(file.read_text() for file in SOURCES)
    unused = [k for k in catalogue.bibliography() if k not in cited and f"[{k}]" not in text]
    assert not unused


@each_method
def test_arguments_come_from_the_vocabulary(entry):
    assert set(entry.needs) <= set(catalogue.VOCABULARY)


@each_method
def test_everything_after_the_subject_is_named(entry):
    parameters = list(inspect.signature(entry.call).parameters.values())
    kinds = [p.kind for p in parameters]
    assert inspect.Parameter.VAR_POSITIONAL not in kinds
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    subject = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert 1 <= len(subject) <= 2
    assert set(subject) <= SUBJECTS


@each_method
def test_a_docstring_tells_formula_and_arguments(entry):
    doc = inspect.getdoc(entry.call) or ""
    assert re.fullmatch(r"[A-Z].*[.?]", entry.summary)
    assert entry.formula
    about = doc.partition("Args:\n")[2].splitlines()
    described = [line.strip().partition(":")[0] for line in about if re.match(r"    \w+: \S", line)]
    assert described == list(inspect.signature(entry.call).parameters)
    assert "Returns:" not in doc
    assert entry.result is not None


@each_method
def test_a_method_lies_in_the_file_of_its_name_and_on_the_page_of_its_family(entry):
    file = entry.call.__module__.rpartition(".")[2]
    assert file in ENTRIES
    assert ENTRIES[file].call.__module__ == entry.call.__module__
    family = entry.call.__module__.split(".")
    pages = [".".join(family[:end]) for end in range(2, len(family))]
    for page in pages:
        if page != "unmask.methods":
            module = sys.modules[page]
            assert entry.call.__name__ in module.__all__
            assert getattr(module, entry.call.__name__) is entry.call
            assert module.__doc__


def test_a_file_named_after_a_method_holds_it():
    for room in catalogue.FAMILIES:
        for file in (PACKAGE / room).rglob("*.py"):
            if file.stem in ENTRIES:
                place = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
                assert ENTRIES[file.stem].call.__module__ == place


def test_no_folder_bears_the_name_of_a_method():
    folders = {folder.name for folder in PACKAGE.rglob("*") if folder.is_dir()}
    assert not folders & set(ENTRIES)


def test_methods_are_rows_of_the_atlas():
    with (ROOT / "docs" / "atlas.csv").open() as table:
        atlas = {row["id"]: row for row in csv.DictReader(table)}
    assert len(atlas) == 166
    for name, entry in ENTRIES.items():
        assert name in atlas or name in EXTRAS
        if name in atlas:
            assert entry.wing == atlas[name]["wing"]
    assert not EXTRAS & set(atlas)


def test_the_vocabulary_is_that_of_the_house():
    text = (ROOT / "docs" / "house.md").read_text()
    table = text.partition("| name | always means |")[2].partition("\n\n")[0]
    cells = re.findall(r"\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", table)
    said = {name: meaning for names, meaning in cells for name in re.findall(r"\w+", names)}
    assert set(said) == set(catalogue.VOCABULARY)
    alone = [meaning.strip() for names, meaning in cells if "," not in names]
    assert {meaning.replace("`", "") for meaning in alone} <= set(catalogue.VOCABULARY.values())


@each_file
def test_files_and_functions_stay_short(file):
    text = file.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
            assert (node.end_lineno or 0) - first.lineno < 80, node.name


@each_file
def test_files_say_the_thing_and_not_its_kind(file):
    assert file.stem not in {"utils", "util", "helpers", "helper", "common", "base", "core", "misc"}


@each_file
def test_annotations_can_be_checked(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.module != "__future__"
            assert "Self" not in [name.name for name in node.names]


@pytest.mark.parametrize("file", SOURCES, ids=[str(f.relative_to(PACKAGE)) for f in SOURCES])
def test_chance_comes_from_a_generator(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            assert "random" not in [name.name for name in node.names]
        if isinstance(node, ast.Attribute):
            said = ast.unparse(node)
            assert not re.match(r"(np|numpy)\.random\.(?!default_rng|Generator|random$)", said)


@pytest.mark.parametrize("file", SOURCES, ids=[str(f.relative_to(PACKAGE)) for f in SOURCES])
def test_every_file_begins_with_what_it_is(file):
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree)
