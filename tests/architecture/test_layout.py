"""What the layout promises and import-linter cannot say."""

from __future__ import annotations

import ast
import gc
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from scripts import long_files

from mailboat.config.plugins import SHARED_MODULES

ROOT = Path(__file__).resolve().parents[2]
RELAY = ROOT / "relay" / "mailboat"
OPERATOR = ROOT / "operator" / "mailboat_operator"
SOURCES = sorted([*RELAY.rglob("*.py"), *OPERATOR.rglob("*.py")])

MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6

PURE = (
    "model",
    "smtp",
    "message",
    "config",
    "dkim",
    "shaping",
    "tlsrpt",
    "queue/entry.py",
    "queue/backoff.py",
    "queue/schedule.py",
    "queue/waits.py",
    "routing/answers.py",
    "routing/dane.py",
    "routing/mx.py",
    "routing/route.py",
    "routing/security.py",
    "routing/sts.py",
    "routing/subject.py",
    "delivery/dane.py",
    "delivery/destination.py",
    "delivery/gate.py",
    "delivery/oauth.py",
    "delivery/places.py",
    "delivery/tls_verdict.py",
    "delivery/verdict.py",
    "delivery/watch.py",
    "delivery/window.py",
    "mailboat_operator/checks.py",
    "mailboat_operator/credentials.py",
    "mailboat_operator/desired",
    "mailboat_operator/egress.py",
    "mailboat_operator/fields.py",
    "mailboat_operator/observed.py",
    "mailboat_operator/plan.py",
    "mailboat_operator/reader.py",
    "mailboat_operator/references.py",
    "mailboat_operator/pod_status.py",
    "mailboat_operator/relay_check.py",
    "mailboat_operator/brought_keys.py",
    "mailboat_operator/conditions.py",
    "mailboat_operator/relay_views.py",
    "mailboat_operator/sending",
    "mailboat_operator/shaping.py",
    "mailboat_operator/signing_domains.py",
    "mailboat_operator/source_addresses.py",
    "mailboat_operator/spec.py",
    "mailboat_operator/spf",
    "mailboat_operator/status.py",
)
IMPURE_MODULES = frozenset(
    {"asyncio", "socket", "ssl", "logging", "time", "os", "pathlib", "dns", "kopf", "random", "subprocess"}
)
ALLOWED = {
    ("model/clock.py", "time"),  # the one clock, which the pure ones are given as an argument
    ("config/openssl.py", "os"),  # OpenSSL's verdict on octets that are given: no file, no socket
    ("config/openssl.py", "ssl"),
    ("config/expiry.py", "ssl"),
}


def name_of(path: Path) -> str:
    base = RELAY if path.is_relative_to(RELAY) else OPERATOR.parent
    return path.relative_to(base).as_posix()


def pure_sources() -> list[Path]:
    return [
        path for path in SOURCES if any(name_of(path) == name or name_of(path).startswith(f"{name}/") for name in PURE)
    ]


@cache
def tree_of(path: Path) -> ast.Module:
    """Parsed without the collector: CPython 3.11 fails now and then when it runs in the middle (its gh-106905)."""
    gc.disable()
    try:
        return ast.parse(path.read_bytes())
    finally:
        gc.enable()


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def classes_of(path: Path) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]


def last_name(node: ast.expr) -> str:
    """Of a base or a decorator, without its module and its parameters."""
    node = node.value if isinstance(node, ast.Subscript) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_the_sources_are_found() -> None:
    assert len(SOURCES) > 50
    for name in PURE:
        assert (RELAY / name).exists() or (OPERATOR.parent / name).exists(), (
            f"{name} is promised to be pure, and is not there"
        )


@pytest.mark.parametrize("path", pure_sources(), ids=name_of)
def test_pure_modules_import_nothing_that_does_io_or_tells_the_time(path: Path) -> None:
    used = {module.partition(".")[0] for module in imports_of(path)} & IMPURE_MODULES
    assert {module for module in used if (name_of(path), module) not in ALLOWED} == set()


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parent == RELAY / "model"], ids=name_of)
def test_the_model_knows_only_itself_and_the_standard_library(path: Path) -> None:
    foreign = {
        module
        for module in imports_of(path)
        if module.startswith("mailboat") and not module.startswith("mailboat.model")
    }
    assert foreign == set()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_sql_has_no_numbered_placeholders(path: Path) -> None:
    """With a sequence of values Python 3.12.0 to 3.12.3 warns of them: its gh-117995."""
    texts = [node.value for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant)]
    assert [
        text for text in texts if isinstance(text, str) and re.search(r"[=<>(,] ?\?[0-9]|LIMIT \?[0-9]", text)
    ] == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_mail_is_made_or_read_with_the_email_package(path: Path) -> None:
    assert not any(module == "email" or module.startswith("email.") for module in imports_of(path))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_functions_stay_small(path: Path) -> None:
    for function in functions_of(path):
        assert (function.end_lineno or function.lineno) - function.lineno < MAX_FUNCTION_LINES, function.name


def test_a_long_file_is_a_warning_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "relay").mkdir()
    (tmp_path / "relay" / "long.py").write_text("\n" * 501)
    (tmp_path / "relay" / "short.py").write_text("\n" * 500)
    assert list(long_files.warnings(tmp_path)) == ["warning: relay/long.py has 501 lines, more than 500"]


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parent != RELAY / "cli"], ids=name_of)
def test_functions_take_few_parameters(path: Path) -> None:
    """Commands excepted: each parameter of theirs is an option."""
    for function in functions_of(path):
        names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
        assert len([name for name in names if name not in ("self", "cls")]) <= MAX_PARAMETERS, function.name


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_each_file_says_at_its_head_what_lives_there(path: Path) -> None:
    tree = tree_of(path)
    assert not tree.body or ast.get_docstring(tree)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_is_left_to_be_done(path: Path) -> None:
    assert not re.search(r"\b(?:TODO|FIXME|XXX|NotImplementedError)\b", path.read_text())


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_abstract_methods_stand_in_abstract_classes_only(path: Path) -> None:
    """Elsewhere Python lets a class be made that lacks them."""
    for cls in classes_of(path):
        methods = [node for node in cls.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        abstract = [method.name for method in methods if "abstractmethod" in map(last_name, method.decorator_list)]
        assert not abstract or {"ABC", "Protocol"} & set(map(last_name, cls.bases)), (cls.name, abstract)


def test_no_class_of_ingress_is_built_on_another() -> None:
    """A connection has its parts; protocols may extend each other."""
    classes = [cls for path in SOURCES if path.parent == RELAY / "ingress" for cls in classes_of(path)]
    names = {cls.name for cls in classes}
    assert "ServerConnection" in names
    for cls in classes:
        bases = set(map(last_name, cls.bases))
        assert "Protocol" in bases or not names & bases, cls.name


def test_no_package_is_called_operator() -> None:
    """A package of that name on the path shadows the standard library's module and breaks the interpreter."""
    assert list(ROOT.glob("operator/__init__.py")) == []
    assert list(ROOT.glob("tests/operator*/__init__.py")) == []


def test_test_directories_are_not_packages() -> None:
    assert [*(ROOT / "tests").rglob("__init__.py"), *(ROOT / "tools").rglob("__init__.py")] == []


@pytest.mark.parametrize("name", ["relay.txt", "operator.txt", "build.txt", "dev.txt"])
def test_locks_pin_by_hash_and_name_no_download_address(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    requirements = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9.-]+==\S+", requirement)
        assert "--hash=sha256:" in requirement


def test_the_tree_names_no_place_of_the_machine_it_was_made_on() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    home = re.compile(rb"(?<![\w.$}/-])/(?:root|home|Users|work)/[a-z]\w*")
    found = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file() and path != Path(__file__) and home.search(path.read_bytes()):
            found.append(name)
    assert found == []


def test_the_names_of_modules_that_shipped_plugins_share_are_those_of_the_folder() -> None:
    """`config.plugins` refuses them as plugins, and may not look: it does no I/O."""
    assert {path.stem for path in (RELAY / "plugins").glob("_*.py")} == SHARED_MODULES
