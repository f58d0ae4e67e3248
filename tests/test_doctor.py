"""`clibd doctor` on this machine, with faults that are real: files, folders, programs and environments."""

import json
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import commands.clibd
from orchestrator.doctor import HostReport, Needs, examine_here, needs_of, refuse_unfit, watching_hosts
from orchestrator.fleet import Resources
from orchestrator.host_checks import (
    Problem,
    differing,
    problems_alone,
    problems_beside,
    problems_of_clock,
    problems_of_place,
)
from orchestrator.request import SweepPoints, SweepRequest, points_of
from sweeps import SWEEPS
from sweeps.point import Point
from workloads.command_line import run_command
from workloads.data.prepared.dataset import PreparedDataset
from workloads.host import Gpu, HostFacts, Token, facts_of_this_host
from workloads.run_errors import UnfitHostsError
from workloads.shared_places import Place, Sight, data_place, held_up, look, runs_place, sees_mark
from workloads.storage import Folder

_Doctor = Callable[..., tuple[int | str, str]]


@pytest.fixture(autouse=True)
def _own_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "GLOO_SOCKET_IFNAME", "CUDA_VISIBLE_DEVICES", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> _Doctor:
    """Runs the command; its exit code and what it prints."""

    def call(*words: str) -> tuple[int | str, str]:
        monkeypatch.setattr("sys.argv", ["clibd", "doctor", *words])
        with pytest.raises(SystemExit) as end:
            run_command(commands.clibd.app)
        return end.value.code or 0, "".join(capsys.readouterr())

    return call


def grave(report: HostReport) -> list[str]:
    return [problem.check for problem in report.problems if problem.grave]


@pytest.fixture(scope="module")
def healthy() -> HostFacts:
    """A host of a cluster with nothing wrong, like which others are made."""
    return replace(
        facts_of_this_host(),
        address="10.0.0.1",
        interfaces={"lo": "127.0.0.1", "eth0": "10.0.0.1"},
        shared_memory=2**33,
        gpus=[],
        usable_gpus=0,
        resolved="127.0.1.1",
        token=Token(mode="token", file="", permissions=0),
    )


# --- This machine ---------------------------------------------------------------------------------------------------


def test_a_machine_in_order_is_fit_in_one_line(doctor: _Doctor, tmp_path: Path) -> None:
    code, said = doctor("--runs", str(tmp_path / "runs"))
    [line] = [line for line in said.splitlines() if not line.startswith(" ")]
    assert code == 0
    assert line.startswith(f"fit      {socket.gethostname()}")
    assert not (tmp_path / "runs").exists()


def test_json_has_every_fact(doctor: _Doctor, tmp_path: Path) -> None:
    code, said = doctor("--format", "json", "--data", str(tmp_path / "none"))
    told = json.loads(said)
    [host] = told["hosts"]
    assert (code, told["fit"], host["fit"]) == (1, False, False)
    assert "place" in {problem["check"] for problem in host["problems"]}
    moving = {name: host["facts"][name] for name in ("memory", "cache", "scratch")}
    assert host["facts"] == {**asdict(facts_of_this_host()), **moving}


def test_a_token_that_others_can_read_is_named_and_the_remedy_mends_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0" * 64)
    token.chmod(0o644)
    report = examine_here(Needs())
    [problem] = [problem for problem in report.problems if problem.check == "token"]
    assert "0644" in problem.reason
    assert os.system(problem.remedy.partition("`")[2].rstrip("`")) == 0
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert "token" not in grave(examine_here(Needs()))


def test_a_cache_of_no_use_is_named_with_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLIBD_CACHE", f"{tmp_path / 'file'}/cache")
    [problem] = [problem for problem in examine_here(Needs()).problems if problem.check == "cache"]
    assert problem.grave
    assert "CLIBD_CACHE" in problem.remedy


def test_a_scratch_folder_whose_path_is_too_long_for_sockets_is_named(healthy: HostFacts) -> None:
    scratch = replace(healthy.scratch, path=f"/scratch/{'long' * 25}")
    [problem] = [problem for problem in problems_alone(replace(healthy, scratch=scratch), {}) if problem.grave]
    assert (problem.check, "TMPDIR" in problem.remedy) == ("sockets", True)


def test_runs_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    report = examine_here(Needs(places=[runs_place(str(tmp_path / "file" / "runs"))]))
    [problem] = [problem for problem in report.problems if problem.check == "place"]
    assert "--runs" in problem.reason
    with pytest.raises(UnfitHostsError, match=r"cannot write to --runs .*/file/runs"):
        refuse_unfit([report], alone=True)


def test_weights_that_nobody_has_are_named_with_their_place(doctor: _Doctor) -> None:
    code, said = doctor("--sweep", "batch-size")
    assert code == 1
    assert "weights" in said
    assert "clibd convert barcodebert-5mer" in said


def test_gpus_that_torch_cannot_use_are_a_wrong_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("needs a torch that cannot use GPUs")
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'NVIDIA A100, 80GB, 81920, 570.1'\necho 'NVIDIA A100, 80GB, 81920, 570.1'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    report = examine_here(Needs())
    assert report.facts
    assert list(report.facts.gpus) == [Gpu(name="NVIDIA A100, 80GB", memory=80 * 2**30, driver="570.1")] * 2
    [problem] = [problem for problem in report.problems if problem.check == "gpu"]
    assert "0 of 2 GPU(s)" in problem.reason
    assert "--torch-backend=auto" in problem.remedy


def test_a_driver_that_hangs_or_lies_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert facts_of_this_host().host == socket.gethostname()


# --- Beside another host --------------------------------------------------------------------------------------------


def test_hosts_that_are_alike_have_no_problems(healthy: HostFacts) -> None:
    other = replace(healthy, host="b", address="10.0.0.2", interfaces={"eth0": "10.0.0.2"})
    assert list(problems_beside(other, healthy)) == []
    assert [problem for problem in problems_alone(other, {}) if problem.grave] == []


@pytest.mark.parametrize(
    ("changes", "check", "remedy"),
    [
        ({"code": "0" * 12, "root": "/home/a b/clibd"}, "code", "workloads 10.0.0.1:'/home/a b/clibd'/"),
        ({"python": "3.14.1"}, "python", "uv venv --clear --python 3."),
        ({"packages": {"numpy": "1.0"}}, "packages", "pip install ray=="),
        ({"chosen_interface": "ib0"}, "network", "export GLOO_SOCKET_IFNAME=eth0"),
        ({"address": "127.0.0.1"}, "network", "--node-ip-address=10.0.0.1"),
        ({"interfaces": {}}, "network", "export GLOO_SOCKET_IFNAME=NAME"),
    ],
)
def test_what_does_not_go_together_has_a_remedy(
    healthy: HostFacts, changes: dict[str, Any], check: str, remedy: str
) -> None:
    [problem] = problems_beside(replace(healthy, **changes), healthy)
    assert problem.check == check
    assert problem.grave
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("changes", "check", "is_grave"),
    [
        ({"shared_memory": 64 * 2**20}, "shared memory", False),
        (
            {
                "shared_memory": 64 * 2**20,
                "gpus": [Gpu(name="A100", memory=0, driver="")],
                "usable_gpus": 1,
            },
            "shared memory",
            True,
        ),
    ],
)
def test_what_is_scarce_is_said(healthy: HostFacts, changes: dict[str, Any], check: str, is_grave: bool) -> None:
    found = [problem for problem in problems_alone(replace(healthy, **changes), {}) if problem.check == check]
    assert [problem.grave for problem in found] == [is_grave]


def test_another_build_of_the_same_version_is_equal() -> None:
    assert differing({"torch": "2.13.0+cu128", "numpy": "2.1"}, {"torch": "2.13.0+cpu", "numpy": "2.2"}) == ["numpy"]
    assert differing({}, {"ray": None}) == []


@pytest.mark.parametrize(("ahead", "expected"), [(1.0, []), (-5.0, [False]), (61.0, [True])])
def test_a_clock_warns_and_then_fails(ahead: float, expected: list[bool]) -> None:
    assert [problem.grave for problem in problems_of_clock(ahead)] == expected


# --- Shared places --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_what_one_host_shows_another_sees_and_answers(address: str, tmp_path: Path) -> None:
    place = runs_place(address.format(tmp_path / "runs"))
    with held_up([place]) as [shown]:
        sight = look(shown)
        assert sees_mark(shown, sight)
        assert list(problems_of_place(shown, sight, mark_seen=True)) == []
        elsewhere = replace(shown, address=str(tmp_path / "other"))
        assert look(elsewhere) == Sight()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free", "expected"), [(2**40, []), (2**31, [False]), (2**20, [True])])
def test_a_full_disk_under_the_runs_is_said(free: int, expected: list[bool]) -> None:
    place = Place(option="--runs", address="/runs", written=True, file="a", digest="0")
    found = problems_of_place(place, Sight(digest="0", mark="b", free=free), mark_seen=True)
    assert [problem.grave for problem in found] == expected


def test_runs_that_are_there_are_left_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "batch-size").mkdir()
    with held_up([runs_place(str(tmp_path))]) as [shown]:
        look(shown)
        assert len(list(tmp_path.iterdir())) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["batch-size"]


def test_data_is_the_same_where_its_description_is(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Folder(tmp_path / name).write("dataset.json", name.encode())
    with held_up([data_place(str(tmp_path / "a"))]) as [shown]:
        other = look(replace(shown, address=str(tmp_path / "b")))
    [problem] = problems_of_place(shown, other, mark_seen=False)
    assert "has another dataset.json" in problem.reason
    assert "s3://" in problem.remedy
    assert "mount" in problem.remedy


def test_a_store_that_refuses_one_host_is_no_matter_of_sharing() -> None:
    place = Place(option="--data", address="s3://b/data", written=False, file="dataset.json", digest="0")
    [problem] = problems_of_place(place, Sight(refused="ACCESS_DENIED"), mark_seen=False)
    assert "ACCESS_DENIED" in problem.reason
    assert "environment" in problem.remedy


# --- Before runs begin ----------------------------------------------------------------------------------------------


def test_a_sweep_is_refused_with_the_hosts_of_each_reason() -> None:
    problem = Problem(check="place", reason="does not see --runs", remedy="Give s3://")
    reports = [HostReport(name=name, facts=None, problems=[problem]) for name in ("b", "c")]
    with pytest.raises(UnfitHostsError, match=r"b, c: does not see --runs\. Give s3://"):
        refuse_unfit([HostReport(name="a", facts=None, problems=[]), *reports], alone=False)


def test_what_only_some_runs_need_does_not_stop_a_sweep() -> None:
    problem = Problem(check="weights", reason="it lacks the weights x", remedy="Put them there")
    refuse_unfit([HostReport(name="a", facts=None, problems=[problem])], alone=False)


def test_a_sweep_on_this_machine_looks_at_it_first(tmp_path: Path) -> None:
    said: list[str] = []
    with watching_hosts(None, Needs(places=[runs_place(str(tmp_path / "runs"))]), said.append):
        pass
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UnfitHostsError, match="--runs"),
        watching_hosts(None, Needs(places=[runs_place(str(tmp_path / "file"))]), said.append),
    ):
        raise AssertionError


def test_a_sweep_needs_its_data_its_runs_and_its_weights(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    sweep, runs = SWEEPS["lora"], Folder(tmp_path / "runs")
    request = SweepRequest(sweeps=(sweep,), scale="paper", data=tiny_dataset, runs=runs)
    points = [p for p in points_of(request).all if isinstance(p, Point)]
    small = [replace(point, spec=replace(point.spec, batch_size=16)) for point in points]
    needs = needs_of(SweepPoints(request, {"lora": small}), Resources())
    assert [place.option for place in needs.places] == ["--data", "--runs"]
    assert "barcodebert-5mer" in needs.weights
