"""Bad input to the command: one line that names what, where and what to do; status 2; nothing started."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from recipes_cli import write_recipe

from retrograde.cli.__main__ import main
from retrograde.cli.backends import Backends
from retrograde.cli.run_folder import RunFolder
from retrograde.cli.supervisor import only_one
from retrograde.cli.topology import Topology
from retrograde.recipe.recipe import load_recipe
from retrograde.runtime.errors import ConflictError, InvalidInputError

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `retrograde ARGUMENTS`: (status, what it said on stderr)."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["retrograde", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return call


def _refused(outcome: tuple[int, str], *words: str) -> None:
    status, said = outcome
    assert status == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def test_unknown_key(command: Command, tmp_path: Path) -> None:
    """A misspelt recipe key is named with its path."""
    recipe = write_recipe(tmp_path, search={"num_iteration": 5})
    _refused(command("run", recipe, "--out", tmp_path / "out"), str(recipe), "search.num_iteration", "unknown key")
    assert not (tmp_path / "out").exists()


def test_wrong_type(command: Command, tmp_path: Path) -> None:
    """A value of the wrong type is named with its path and what was given."""
    recipe = write_recipe(tmp_path, search={"num_iterations": "many"})
    _refused(command("run", recipe, "--out", tmp_path / "out"), "search.num_iterations", "many")


def test_missing_recipe(command: Command, tmp_path: Path) -> None:
    """A recipe that is not there is named."""
    _refused(command("run", tmp_path / "none.yaml", "--out", tmp_path / "out"), "none.yaml", "cannot be read")


def test_unknown_task(command: Command, tmp_path: Path) -> None:
    """A task nobody wrote is named."""
    _refused(
        command("run", write_recipe(tmp_path, task="chess"), "--out", tmp_path / "out"), "task: 'chess' is unknown"
    )


def test_missing_model(command: Command, tmp_path: Path) -> None:
    """A checkpoint folder without weights is refused before anything starts."""
    recipe = write_recipe(tmp_path)
    (tmp_path / "base" / "model.safetensors").unlink()
    _refused(command("run", recipe, "--out", tmp_path / "out"), "policy.checkpoint", "no *.safetensors")


def test_arm_without_its_settings(command: Command, tmp_path: Path) -> None:
    """An RL arm without `rl` is refused."""
    recipe = write_recipe(tmp_path, rl=None)
    _refused(command("run", recipe, "--out", tmp_path / "out"), "arms: astro_rl needs both")


def test_bad_problem_option(command: Command, tmp_path: Path) -> None:
    """An option that the task refuses is named with its split."""
    wrong = {"options": {"num_numbers": 9}}
    good = {"options": {"count": 5}}
    recipe = write_recipe(tmp_path, problems={"search": wrong, "rl": good, "evaluate": good})
    _refused(command("run", recipe, "--out", tmp_path / "out"), "problems.search.options.num_numbers", "3..6")


def test_folder_of_another_recipe(command: Command, tmp_path: Path) -> None:
    """An --out that another recipe began is refused and left as it is."""
    folder = RunFolder.at(tmp_path / "out")
    folder.claim(load_recipe(write_recipe(tmp_path)))
    before = (tmp_path / "out" / "run.json").read_bytes()
    other = write_recipe(tmp_path, seed=2)
    _refused(command("run", other, "--out", tmp_path / "out"), "belongs to recipe tiny", "choose another --out")
    assert (tmp_path / "out" / "run.json").read_bytes() == before


def test_no_room(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with less room than the run is likely to need is refused, with both figures."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=5 << 20))
    _refused(command("run", write_recipe(tmp_path), "--out", tmp_path / "out"), "5 MiB free", "the run needs about 256")
    assert not (tmp_path / "out" / "run.json").exists()


def test_out_that_is_a_file(command: Command, tmp_path: Path) -> None:
    """An --out that cannot be a folder is named."""
    (tmp_path / "out").write_text("", encoding="utf-8")
    _refused(command("run", write_recipe(tmp_path), "--out", tmp_path / "out"), "--out", "choose a folder")


def test_port_taken(tmp_path: Path) -> None:
    """A port that was asked for and is taken is named with its service."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInputError, match=f"port {port} for inference is taken"):
            Topology(tmp_path, Backends.within(tmp_path), "base", 256).write(port_base=port)


def test_folder_in_use(tmp_path: Path) -> None:
    """Two supervisors never share a folder."""
    with (
        only_one(tmp_path),
        pytest.raises(ConflictError, match="another retrograde process uses it"),
        only_one(tmp_path),
    ):
        pass


def test_malformed_line_17(command: Command, tmp_path: Path) -> None:
    """A broken line of an answers file is named by its number before any is judged."""
    lines = ['{"answer": "1", "gold": "1"}'] * 20
    lines[16] = '{"answer": "1", "gold"'
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    _refused(command("verify", "--jsonl", path), "answers.jsonl: line 17: not JSON")


def test_answers_file_that_lacks_a_key(command: Command, tmp_path: Path) -> None:
    """A line without a gold says so."""
    path = tmp_path / "answers.jsonl"
    path.write_text('{"answer": "1"}\n', encoding="utf-8")
    _refused(command("verify", "--jsonl", path), "line 1", "'gold' must be a text or a number, not null")


@pytest.mark.parametrize("arguments", [("verify", "1"), ("run", "x.yaml"), ("verify", "--jsnl", "x"), ("rum",)])
def test_wrong_usage(command: Command, arguments: tuple[str, ...]) -> None:
    """A wrong or missing argument is one line too, and says where help is."""
    _refused(command(*arguments), "--help")


def test_report_of_no_run(command: Command, tmp_path: Path) -> None:
    """A folder without a run has no report."""
    _refused(command("report", tmp_path), "holds no run")


def test_down_of_nothing(command: Command, tmp_path: Path) -> None:
    """What does not run cannot be stopped."""
    _refused(command("down", "--out", tmp_path), "nothing runs there")


def test_search_without_gold(command: Command, tmp_path: Path) -> None:
    """A problem whose right answer nobody said cannot be searched."""
    _refused(command("search", "what is 1+1?", "--recipe", write_recipe(tmp_path)), "--gold")


def test_kept_recipe_stays_readable(tmp_path: Path) -> None:
    """The recipe handed to the trainer, YAML made from the checked one, has the hash by which the folder is marked."""
    recipe = load_recipe(write_recipe(tmp_path))
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(recipe.model_dump(mode="json")), encoding="utf-8")
    assert load_recipe(again).hash == recipe.hash
