"""The steps there are. A part of the product that does not exist yet has no step: no result without a run."""

from __future__ import annotations

import os
import sysconfig
from dataclasses import replace

from tests.checks.step import CHECKOUT, Step, python

DAEMON = "roles/agent/files/mobileip/src"
PLUGINS = ".ansible/collections/ansible_collections/mobileip/vpn/plugins"
FUZZ_SECONDS = "60"
FRAMES_ON_6_1 = "100000"
CORPUS = CHECKOUT / "tests" / "fuzz" / "corpus"
EMITTED = CHECKOUT / "build" / "emitted"


def _existing(*paths: str) -> list[str]:
    return [path for path in paths if any((CHECKOUT / path).rglob("*.py"))]


def _pytest(
    name: str, minutes: float, *paths: str, environment: dict[str, str] | None = None, at_once: int = 1
) -> list[Step]:
    """Tests of `paths`; `at_once`: files whose tests run at the same time, which must not be able to tell."""
    found = _existing(*paths)
    if not found:
        return []
    side_by_side = ["-n", str(at_once), "--dist", "loadfile"] if at_once > 1 else []
    command = python("-m", "pytest", "-q", "--durations=5", *side_by_side, *found)
    return [Step(name, (command,), minutes, environment=environment or {})]


def _recorded(*steps: Step) -> list[Step]:
    """Steps that leave what the parties emit below build/emitted, where the conformance step looks."""
    recordings = [EMITTED / step.name for step in steps]
    return [
        replace(step, environment={**step.environment, "RECORD_EMITTED": str(recording)}, fresh=recording)
        for step, recording in zip(steps, recordings, strict=True)
    ]


def lint() -> list[Step]:
    """Style and types of everything."""
    return [
        Step("ruff", (["ruff", "check", "."],), 3),
        Step("mypy", (["mypy", *_existing(DAEMON, "molecule/resources", "tests", PLUGINS)],), 8),
        Step("yamllint", (["yamllint", "--strict", "."],), 3),
        Step("ansible-lint", (["ansible-lint", "--offline", "--profile", "production"],), 8),
    ]


def unit() -> list[Step]:
    """Tests that need neither root nor a network; those of the hot path again with its compiled parts."""
    return [*_recorded(*_pytest("unit", 10, "tests/unit")), *compiled()]


def compiled() -> list[Step]:
    """The same tests against the compiled parts."""
    module = CHECKOUT / "build" / "compiled" / "_mobileip.so"
    source = CHECKOUT / DAEMON / ".." / "native" / "_mobileip.c"
    include = "-I" + sysconfig.get_paths()["include"]
    compiler = ["clang", "-O3", "-Wall", "-Werror", "-shared", "-fPIC", include, "-o", str(module), str(source), "-lm"]
    folders = ("wire", "registration", "store", "runtime")
    (tests,) = _pytest("unit-compiled", 8, *(f"tests/unit/{folder}" for folder in folders))
    return [
        replace(
            tests,
            commands=(["mkdir", "-p", str(module.parent)], compiler, *tests.commands),
            environment={"PYTHONPATH": str(module.parent), "MOBILEIP_EXPECTED": "compiled"},
        )
    ]


def fuzz() -> list[Step]:
    """Fuzzing for FUZZ_SECONDS (default 900), and a corpus that holds what was reached."""
    seconds = os.environ.get("FUZZ_SECONDS", "900")
    minutes = float(seconds) / 30 + 5
    keep = [python("-m", "tests.fuzz.guided", target.stem, "keep") for target in sorted(CORPUS.glob("*.txt"))]
    sources = {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(CHECKOUT / DAEMON)])}
    return [
        *_pytest("long-fuzz", minutes, "tests/fuzz", environment={"FUZZ_SECONDS": seconds}),
        Step("corpus", tuple(keep), 10, environment=sources),
    ]


def rest_of_short() -> list[Step]:
    """What needs root, hosts or minutes, and still belongs to every run."""
    return [
        *_recorded(*_pytest("fuzz", 6, "tests/fuzz", environment={"FUZZ_SECONDS": FUZZ_SECONDS})),
        *_rules(),
        guest_smoke(),
        Step("collection", (python("-m", "tests.checks.collection"),), 10),
        *_scenarios(),
    ]


def conformance() -> list[Step]:
    """Every test that may carry the id of a rule."""
    return [*unit(), *_rules(), *_scenarios()]


def _rules() -> list[Step]:
    return [
        *_pytest("conformance", 6, "tests/conformance"),
        *_pytest("forwarding", 10, "tests/forwarding", at_once=2),
        *_pytest("integration", 12, "tests/integration", at_once=2),
        *_pytest("routes", 5, "tests/routes", at_once=2),
    ]


def _guest(
    name: str, minutes: float, *arguments: str, environment: dict[str, str] | None = None, sites: bool = False
) -> Step:
    """Tests in a guest of its own; the programs and, for `sites`, the roles' files are made before. See tests/guest."""
    made = CHECKOUT / "build" / "guest" / "made"
    settings = {"BPF_OBJECT": str(made / "mobileip.bpf.o"), "TEST_PATIENCE": "20", **(environment or {})}
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    limits = ("--name", name, "--minutes", f"{minutes - 1:g}")
    tests = ("pytest", "-q", "--durations=5", "-o", "timeout=2400", *arguments)
    commands = (
        python("-m", "tests.interop.prepare", str(made), *(["sites"] if sites else [])),
        python("-m", "tests.guest", *limits, *options, *tests),
    )
    sources = os.pathsep.join(str(CHECKOUT / folder) for folder in (DAEMON, "molecule/resources"))
    return Step(name, commands, minutes, environment={"PYTHONPATH": sources})


def _sites_in_guests() -> list[Step]:
    """Both deployments with strongSwan and kernel ESP, a guest each."""
    made = CHECKOUT / "build" / "guest" / "made" / "sites"
    # The plugins of the virtual environment take a guest minutes to import.
    environment = {"SITE_FILES": str(made), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    tests = ("-p", "pytest_timeout", "tests/interop/test_sites.py", "-k")
    return [
        _guest(f"long-sites-{name}", 40, *tests, name, environment=environment, sites=True)
        for name in ("two_box", "one_box")
    ]


def guest_smoke() -> Step:
    """A guest boots, the programs load there, and a ping goes through its kernel's tunnels and ESP."""
    return _guest("guest", 12, "tests/interop/test_native_tunnels.py", "-k", "oldest or (ping and ipip-node)")


def _kernel_6_1() -> list[Step]:
    """The programs on the oldest kernel that they are made for: both hooks against the model, loaded and on wires.

    The planted bugs prove the tests, whatever the kernel: here it is the kernel that is asked.
    """
    parts = {
        "tc": (60, ["rules_equal_programs"], "not planted"),
        "xdp": (30, ["xdp_equals_rules"], "not planted"),
        "loaded": (40, ["loader", "inspection", "reload"], ""),
        # A test of these takes a minute: those that show the most.
        "wires": (45, ["namespaces", "xdp_in_namespaces", "segments"], "shows_the_tunnel or full_size or merged"),
    }
    return [
        _guest(
            f"long-kernel-6.1-{name}",
            minutes,
            *(f"tests/forwarding/test_{file}.py" for file in files),
            "-k",
            which,
            environment={"FORWARDING_FRAMES": FRAMES_ON_6_1},
        )
        for name, (minutes, files, which) in parts.items()
    ]


def _every_way() -> list[Step]:
    """By every encapsulation, with two boxes and with one, what otherwise a few of them stand for."""
    files = (f"tests/integration/test_{name}.py" for name in ("path_mtu", "minimal_in_udp", "daemons", "paths"))
    command = python("-m", "pytest", "-q", "--durations=5", *files)
    return [Step("long-ways", (command,), 30, environment={"EVERY_WAY": "1"})]


def _scenarios() -> list[Step]:
    return [_scenario("two_box", 15)]


def _scenario(name: str, minutes: float) -> Step:
    return Step(
        f"molecule-{name}",
        (["molecule", "test", "--scenario-name", name],),
        minutes,
        fresh=CHECKOUT / "build" / "scenario" / name,
    )


def short() -> list[Step]:
    """All of `make test`."""
    return [*lint(), *unit(), *rest_of_short()]


def long() -> dict[str, list[Step]]:
    """The named parts of `make test-long`."""
    parts = {
        "fuzz": fuzz()[:1],
        "cores": _pytest("long-cores", 40, "tests/controller"),
        "one_box": [_scenario("one_box", 20)],
        "bare": [_scenario("bare", 20)],
        "upgrade": [_scenario("upgrade", 20)],
        "remove": [_scenario("remove", 20)],
        "nat": [_scenario("nat", 20)],
        "firewall": [_scenario("firewall", 20)],
        "guest": [_guest("long-guest", 40, "tests/interop/test_native_tunnels.py")],
        "sites": _sites_in_guests(),
        "kernel-6.1": _kernel_6_1(),
        "ways": _every_way(),
    }
    for folder in sorted((CHECKOUT / "tests" / "long").glob("*/")):
        parts[folder.name] = _pytest(f"long-{folder.name}", 60, f"tests/long/{folder.name}")
    return {name: steps for name, steps in parts.items() if steps}
