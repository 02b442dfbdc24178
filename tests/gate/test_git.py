import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from samattn_cli.errors import ConfigError, GitError, SamattnError
from samattn_cli.files.load import load_config, load_located
from samattn_cli.files.sources import DISK
from samattn_cli.gate.git import Base, Repository, Tree, base_of, repository
from samattn_cli.gate.git.commands import ELSEWHERE, Git, Objects
from samattn_cli.gate.git.moves import Moves
from samattn_cli.gate.git.provider import PROVIDERS
from tests.support.repositories import VIT, commit, git, new, write

CI = {
    *(provider.variable for provider in PROVIDERS),
    *("GITHUB_BASE_REF", "GITHUB_REF", "GITHUB_EVENT_PATH", "CI_COMMIT_BEFORE_SHA"),
    *("CI_MERGE_REQUEST_TARGET_BRANCH_SHA", "CI_MERGE_REQUEST_DIFF_BASE_SHA"),
    *("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "BITBUCKET_PR_DESTINATION_BRANCH"),
    *("BUILDKITE_PULL_REQUEST_BASE_BRANCH", "SYSTEM_PULLREQUEST_TARGETBRANCH"),
}
WIDE = VIT.replace("window_size: 2", "window_size: 4")


@pytest.fixture(autouse=True)
def outside_of_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CI, *ELSEWHERE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = new(tmp_path / "repository", {"encoders/h.yaml": VIT})
    monkeypatch.chdir(folder)
    return folder


def tree(ref: str = "HEAD") -> Tree:
    found = repository()
    return Tree(found, found.commit(ref))


def base(request: str = "auto") -> Base:
    return base_of(request, repository())


def windows(path: str, ref: str = "HEAD") -> int:
    return load_config(path, files=tree(ref)).stages[0].window_size[0]


def codes_of(call, *arguments) -> tuple[str, ...]:
    with pytest.raises(SamattnError) as caught:
        call(*arguments)
    return caught.value.codes


def error_of(call, *arguments, **named) -> str:
    with pytest.raises((GitError, ConfigError)) as caught:
        call(*arguments, **named)
    return str(caught.value)


class TestReading:
    def test_a_config_is_read_as_it_was(self, root: Path) -> None:
        write(root, {"encoders/h.yaml": WIDE})
        assert load_config("encoders/h.yaml").stages[0].window_size == (4, 4)
        assert windows("encoders/h.yaml") == 2

    def test_from_a_folder_below_and_by_an_absolute_path(self, root: Path, monkeypatch) -> None:
        monkeypatch.chdir(root / "encoders")
        assert windows("h.yaml") == 2
        assert windows("../encoders/h.yaml") == 2
        assert windows(str(root / "encoders" / "h.yaml")) == 2
        assert windows("../../repository/encoders/h.yaml") == 2
        files, around = tree(), f"../{root.name}/encoders/h.yaml"
        (root.parent / "around").mkdir()
        for folder in (root, root.parent / "around"):
            monkeypatch.chdir(folder)
            assert files.read(Path(around), 999) == VIT.encode()

    def test_places_name_the_ref(self, root: Path) -> None:
        commit(root, {"encoders/h.yaml": VIT.replace("depth: 4", "depth: 0")})
        assert error_of(windows, "encoders/h.yaml", "main").startswith("main:encoders/h.yaml:4:8: ")
        loaded = load_located("encoders/h.yaml", files=tree("HEAD^"))
        assert str(loaded.where("window_size")) == "HEAD^:encoders/h.yaml:6:1"
        assert loaded.where("mlp_ratio") is None

    def test_what_is_extended_is_read_as_it_was_too(self, root: Path) -> None:
        write(root, {"a/base.yaml": VIT, "b/c.yaml": "extends: ../a/base.yaml\nnum_heads: 2\n"})
        commit(root)
        commit(root, {"a/base.yaml": WIDE})
        write(root, {"a/base.yaml": VIT.replace("window_size: 2", "window_size: 1")})
        assert load_config("b/c.yaml").stages[0].window_size == (1, 1)
        assert windows("b/c.yaml", "HEAD") == 4
        assert windows("b/c.yaml", "HEAD~1") == 2
        where = load_located("b/c.yaml", files=tree("HEAD~1")).where("window_size")
        assert str(where) == "HEAD~1:a/base.yaml:6:1"

    def test_presets_are_those_of_the_samattn_that_runs(self, root: Path) -> None:
        commit(root, {"mine.yaml": "extends: sam_vit_b\nwindow_size: 8\n"})
        config = load_config("mine.yaml", files=tree())
        assert (config.stages[0].depth, config.stages[0].window_size) == (12, (8, 8))
        assert load_config("sam_vit_b", files=tree()) == load_config("sam_vit_b")

    @pytest.mark.usefixtures("root")
    def test_a_missing_file_says_where_and_what_there_is(self) -> None:
        said = error_of(windows, "encoders/g.yaml", "main")
        assert "'encoders/g.yaml'; did you mean 'encoders/h.yaml'? [file-not-found]" in said
        assert " at main" in said
        assert "'encoders' is a directory at main" in error_of(windows, "encoders", "main")

    def test_what_leaves_the_repository_is_not_read(self, root: Path, tmp_path: Path) -> None:
        write(tmp_path, {"outside.yaml": VIT})
        commit(root, {"encoders/out.yaml": "extends: ../../outside.yaml\n"})
        said = error_of(windows, "encoders/out.yaml", "main")
        assert said.startswith("main:encoders/out.yaml:1:10: '../../outside.yaml' cannot be read at main: ")
        assert f"is outside the repository {root}" in said
        assert "is outside the repository" in error_of(windows, str(tmp_path / "outside.yaml"))

    def test_symbolic_links_are_followed_in_the_commit(self, root: Path, tmp_path: Path) -> None:
        (root / "link.yaml").symlink_to("encoders/h.yaml")
        (root / "folder").symlink_to("encoders")
        (root / "out.yaml").symlink_to("../outside.yaml")
        (root / "gone.yaml").symlink_to("nothing.yaml")
        write(tmp_path, {"outside.yaml": VIT})
        commit(root)
        write(root, {"encoders/h.yaml": WIDE})
        assert windows("link.yaml") == 2
        assert windows("folder/h.yaml") == 2
        assert "is a symbolic link to a place outside the repository" in error_of(windows, "out.yaml")
        assert "a broken symbolic link [cannot-read]" in error_of(windows, "gone.yaml")

    def test_a_path_through_the_parent_of_a_link_goes_where_it_goes_on_disk(self, root: Path) -> None:
        write(root, {"deep/er/x.yaml": VIT, "deep/y.yaml": WIDE})
        (root / "link").symlink_to("deep/er")
        commit(root)
        assert load_config("link/../y.yaml").stages[0].window_size == (4, 4)
        assert windows("link/../y.yaml") == 4

    def test_line_ends_of_windows_spaces_and_other_scripts(self, root: Path) -> None:
        name = "my encoders/größe 大.yaml"
        commit(root, {name: VIT.replace("\n", "\r\n")})
        assert windows(name, "main") == 2
        assert str(load_located(name, files=tree("main")).where("window_size")) == f"main:{name}:6:1"
        assert tree().glob(Path(), "my encoders/*.yaml") == [Path(name)]

    @pytest.mark.usefixtures("root")
    def test_a_line_break_in_a_path_is_not_a_second_question(self) -> None:
        assert "[file-not-found]" in error_of(windows, "a\nencoders/h.yaml")
        assert windows("encoders/h.yaml") == 2

    def test_a_name_with_a_line_break_is_read(self, root: Path) -> None:
        commit(root, {"a\nb.yaml": WIDE, "c\nd/e.yaml": VIT})
        (root / "f\ng.yaml").symlink_to("encoders/h.yaml")
        commit(root)
        assert windows("a\nb.yaml") == 4
        assert windows("c\nd/e.yaml") == 2
        files = tree()
        assert files.is_dir(Path("c\nd"))
        assert not files.exists(Path("a\nc.yaml"))
        assert files.glob(root, "*.yaml") == [root / "a\nb.yaml", root / "f\ng.yaml"]
        assert files.exists(Path("f\ng.yaml"))  # and so it is not new
        assert "is a symbolic link with a line break in its name" in error_of(windows, "f\ng.yaml")

    def test_lfs_pointers_binary_and_large_files_are_named(self, root: Path) -> None:
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
        commit(root, {"lfs.yaml": pointer, "binary.yaml": b"\0\1", "large.yaml": b"#" * (3 << 20)})
        files = tree()
        for name, code in {"lfs": "lfs-pointer", "binary": "binary-file", "large": "file-too-large"}.items():
            assert f"[{code}]" in error_of(load_config, f"{name}.yaml", files=files)
        assert load_config("encoders/h.yaml", files=files).stages[0].depth == 4

    def test_two_hundred_configs_are_one_process(self, root: Path, monkeypatch) -> None:
        commit(root, {f"many/{number}.yaml": VIT for number in range(200)})
        files = tree()
        started = []
        process = subprocess.Popen
        monkeypatch.setattr(
            subprocess, "Popen", lambda *args, **named: started.append(args) or process(*args, **named)
        )
        assert len([load_config(path, files=files) for path in files.glob(Path(), "many/*.yaml")]) == 200
        assert len(started) == 2  # ls-tree, cat-file


class TestGlob:
    PATTERNS = (
        *("*.yaml", "encoders/*.yaml", "encoders/**/*.yaml", "**/*.yaml", "**/h.yaml", "encoders/**"),
        *(
            "e*s/?.yaml",
            "encoders/h.yaml",
            "encoders/[gh].yaml",
            "nothing/*.yaml",
            "*/deep/*",
            "encoders",
            "./encoders/*.yaml",
            "encoders/[^h].yaml",
            "encoders/**.yaml",
            "linked/*",
        ),
    )

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_it_is_that_of_the_disk(self, root: Path, pattern: str) -> None:
        files = (
            "top.yaml",
            "encoders/g.yaml",
            "encoders/deep/h.yaml",
            "encoders/.hidden.yaml",
            "other/deep/n.txt",
        )
        write(root, dict.fromkeys(files, VIT))
        (root / "encoders" / "link.yaml").symlink_to("h.yaml")
        (root / "encoders" / "gone.yaml").symlink_to("i.yaml")
        (root / "linked").symlink_to("other/deep")
        (root / "encoders" / "again").symlink_to("../encoders")
        (root / "encoders" / "away").symlink_to("../other/deep")
        commit(root)
        for folder in (Path(), root, Path("encoders")):
            on_disk = [
                path for path in DISK.glob(folder, pattern) if ".git" not in path.relative_to(folder).parts
            ]
            assert tree().glob(folder, pattern) == on_disk
        assert pattern in {"nothing/*.yaml", "encoders"} or tree().glob(Path(), pattern)

    def test_from_below_and_above(self, root: Path, monkeypatch) -> None:
        monkeypatch.chdir(root / "encoders")
        assert tree().glob(Path(), "../encoders/*.yaml") == [Path("../encoders/h.yaml")]
        said = error_of(tree().glob, Path(), "../../*.yaml")
        assert "[outside-repository]" in said


class TestRefs:
    def test_branches_tags_hashes_and_steps(self, root: Path) -> None:
        first = git(root, "rev-parse", "HEAD")
        git(root, "tag", "v1")
        second = commit(root)
        here = repository()
        assert {here.commit(ref).sha for ref in ("v1", "HEAD~1", "main^", first, first[:8])} == {first}
        assert here.commit("main").sha == second
        assert (here.commit(first).name, str(here.commit("main"))) == (first[:7], f"main ({second[:7]})")

    def test_a_branch_goes_before_a_tag_of_its_name(self, root: Path, tmp_path: Path, monkeypatch) -> None:
        first = git(root, "rev-parse", "HEAD")
        git(tmp_path, "clone", "-q", f"file://{root}", "clone")
        monkeypatch.chdir(tmp_path / "clone")
        commit(tmp_path / "clone")
        for name in ("main", "origin/main", "other"):
            git(tmp_path / "clone", "tag", name)
        git(tmp_path / "clone", "checkout", "-q", "--detach")
        git(tmp_path / "clone", "branch", "-D", "main")
        assert {repository().commit(ref).sha for ref in ("main", "origin/main")} == {first}
        assert repository().commit("other").sha == git(tmp_path / "clone", "rev-parse", "HEAD")

    def test_a_branch_that_only_the_remote_has(self, root: Path, tmp_path: Path, monkeypatch) -> None:
        git(root, "branch", "release")
        git(tmp_path, "clone", "-q", f"file://{root}", "clone")
        monkeypatch.chdir(tmp_path / "clone")
        assert repository().commit("release").name == "origin/release"

    @pytest.mark.parametrize(
        "ref", ["", " ", "-x", "--output=x", "a\nb", "main..HEAD", "no such", "HEAD~9", "@{u}"]
    )
    def test_what_is_not_a_commit_is_reported(self, root: Path, ref: str) -> None:
        assert error_of(repository().commit, ref).startswith(f"there is no commit {ref!r} here")
        assert not (root / "x").exists()

    def test_a_near_name_and_how_to_fetch(self, root: Path) -> None:
        assert (
            error_of(repository().commit, "mian")
            == "there is no commit 'mian' here; did you mean 'main'? [unknown-ref]"
        )
        git(root, "remote", "add", "origin", "file:///nowhere")
        said = error_of(repository().commit, "release")
        assert said.endswith(
            "to fetch it: git fetch origin release:refs/remotes/origin/release [unknown-ref]"
        )
        assert error_of(repository().commit, "1234567890").endswith(
            "git fetch origin 1234567890 [unknown-ref]"
        )

    def test_before_the_first_commit(self, tmp_path: Path, monkeypatch) -> None:
        git(tmp_path, "init", "-q")
        monkeypatch.chdir(tmp_path)
        assert codes_of(repository().commit, "HEAD") == ("no-commit-yet",)


class TestRepository:
    def test_no_git(self, root: Path, monkeypatch) -> None:
        monkeypatch.setenv("PATH", str(root))
        assert codes_of(repository) == ("no-git",)

    def test_a_git_that_ended_is_reported_to_have_each_time(self, root: Path) -> None:
        objects = Objects(Git(root))
        for _ in range(2):
            assert "outside repository" in error_of(objects.get, "HEAD:../h.yaml", 1)
        del objects  # closes its pipes

    def test_no_repository_and_a_bare_one(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        said = error_of(repository, tmp_path)
        assert (str(tmp_path) in said, "[no-repository]" in said) == (True, True)
        git(tmp_path, "init", "-q", "--bare", "bare.git")
        assert codes_of(repository, tmp_path / "bare.git") == ("no-work-tree",)
        assert codes_of(repository, tmp_path / "none") == ("no-such-directory",)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
    def test_one_of_another_user(self, root: Path, monkeypatch) -> None:
        for path in (root, root / ".git"):
            os.chown(path, 12345, 12345)
        said = error_of(repository)
        assert said.endswith(f"git config --global --add safe.directory {root} [untrusted-repository]")
        for key, value in {"COUNT": "1", "KEY_0": "safe.directory", "VALUE_0": str(root)}.items():
            monkeypatch.setenv(f"GIT_CONFIG_{key}", value)
        assert repository().root == root

    def test_what_a_hook_sets_does_not_lead_elsewhere(self, root: Path, tmp_path: Path, monkeypatch) -> None:
        other = new(tmp_path / "other", {"encoders/h.yaml": WIDE})
        monkeypatch.setenv("GIT_DIR", str(other / ".git"))
        monkeypatch.setenv("GIT_WORK_TREE", str(other))
        monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
        assert repository().root == root
        assert windows("encoders/h.yaml") == 2

    def test_in_a_hook(self, root: Path) -> None:
        hook = root / ".git" / "hooks" / "pre-commit"
        hook.parent.mkdir(exist_ok=True)
        python = "from samattn_cli.gate.git import repository; print(repository().commit('HEAD').sha)"
        hook.write_text(f'#!/bin/sh\ncd encoders && {shutil.which("python")} -c "{python}" > ../seen\n')
        hook.chmod(0o755)
        first = git(root, "rev-parse", "HEAD")
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "second", "--allow-empty"],
            cwd=root,
            check=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        )
        assert (root / "seen").read_text().strip() == first

    def test_in_a_worktree(self, root: Path, tmp_path: Path, monkeypatch) -> None:
        commit(root, {"encoders/h.yaml": WIDE})
        git(root, "worktree", "add", "-q", "--detach", str(tmp_path / "second tree"), "HEAD~1")
        monkeypatch.chdir(tmp_path / "second tree" / "encoders")
        assert repository().root == tmp_path / "second tree"
        assert (windows("h.yaml", "main"), windows("h.yaml", "HEAD")) == (4, 2)

    def test_nothing_is_written(self, root: Path) -> None:
        def state() -> list[tuple[str, int]]:
            return sorted((str(path), path.stat().st_mtime_ns) for path in root.rglob("*"))

        before = state()
        assert windows("encoders/h.yaml") == 2
        tree().old_path(root / "encoders" / "other.yaml")
        base()
        assert state() == before


class TestRenames:
    def test_a_renamed_config_is_compared_with_its_former_self(self, root: Path, monkeypatch) -> None:
        git(root, "mv", "encoders/h.yaml", "encoders/huge.yaml")
        write(root, {"encoders/huge.yaml": WIDE, "encoders/new.yaml": "extends: sam_vit_b\n"})
        git(root, "add", "-A")
        files = tree()
        assert files.old_path(Path("encoders/huge.yaml")) == Path("encoders/h.yaml")
        assert files.old_path(root / "encoders" / "huge.yaml") == root / "encoders" / "h.yaml"
        assert files.old_path(Path("encoders/new.yaml")) == Path("encoders/new.yaml")
        monkeypatch.chdir(root / "encoders")
        assert tree().old_path(Path("huge.yaml")) == Path("h.yaml")
        commit(root)
        assert tree("HEAD~1").old_path(Path("huge.yaml")) == Path("h.yaml")

    def test_settings_and_a_deletion_do_not_matter(self, root: Path) -> None:
        commit(root, {"encoders/gone.yaml": WIDE + "norm: true\nneck: sam\nrel_pos: joint\nout_chans: 4\n"})
        git(root, "config", "diff.renames", "false")
        git(root, "rm", "-q", "encoders/gone.yaml")
        git(root, "mv", "encoders/h.yaml", "h.yaml")
        assert repository().moves(repository().commit("HEAD")) == Moves(
            {"h.yaml": "encoders/h.yaml"}, ("encoders/gone.yaml",)
        )
        assert tree().exists(Path("encoders/gone.yaml"))

    def test_a_file_that_git_does_not_track_yet_may_be_a_renamed_one(self, root: Path) -> None:
        commit(root, {".gitignore": "ignored.yaml\n", "gone.yml": "a: 1\n" * 9})
        index = (root / ".git" / "index").read_bytes()
        (root / "encoders" / "h.yaml").rename("h.yaml")
        write(root, {"new.yml": "b: 2\n", "ignored.yaml": "a: 1\n" * 9})
        (root / "gone.yml").unlink()
        found = repository().moves(repository().commit("HEAD"))
        assert found == Moves({"h.yaml": "encoders/h.yaml"}, ("gone.yml",), ("new.yml",))
        assert (root / ".git" / "index").read_bytes() == index

    def test_what_changed_in_the_moment_in_which_git_wrote_its_index_is_seen(self, root: Path) -> None:
        """In as many bytes and at the same time: git reads such files anew, if it knows when the index was written."""
        git(root, "config", "core.trustctime", "false")
        moment = (1_700_000_000, 1_700_000_000)
        os.utime(root / "encoders" / "h.yaml", moment)
        git(root, "update-index", "--refresh")
        cheap = VIT.replace("depth: 4", "depth: 2")
        write(root, {"encoders/h.yaml": cheap, "encoders/new.yaml": VIT.replace("depth: 4", "depth: 8")})
        for name in ("encoders/h.yaml", ".git/index"):
            os.utime(root / name, moment)
        found = repository().moves(repository().commit("HEAD"))
        assert (found.added, found.changed) == (("encoders/new.yaml",), ("encoders/h.yaml",))

    def test_settings_of_this_machine_hide_no_copy_and_no_new_file(self, root: Path) -> None:
        commit(root, {"other.yaml": WIDE})
        for name, value in (("renameLimit", "1"), ("renames", "false")):
            git(root, "config", f"diff.{name}", value)
        git(root, "config", "status.showUntrackedFiles", "no")
        assert repository().is_clean
        write(root, {"new.yaml": VIT.replace("depth: 4", "depth: 8")})
        assert not repository().is_clean
        write(root, {"encoders/h.yaml": "a: 1\n", "other.yaml": "b: 1\n", "newer.yaml": f"{WIDE}# 2\n"})
        (root / "encoders" / "h.yaml").unlink()
        head, here = repository().commit("HEAD"), repository()
        assert here.moves(head).renamed == {"new.yaml": "encoders/h.yaml"}
        added = ("new.yaml", "newer.yaml")
        assert here.copies(head, ["encoders/h.yaml", "other.yaml"], added) == dict(
            zip(added, ("encoders/h.yaml", "other.yaml"), strict=True)
        )

    def test_a_copy_is_of_the_one_of_the_sources_that_it_is_most_alike(self, root: Path) -> None:
        """Of one that is as it was, too; "?" in a name is no wildcard."""
        commit(root, {"a?.yaml": VIT, "ab.yaml": f"{VIT}# b\n", "own.yaml": "a: 1\n"})
        write(root, {"new.yaml": f"{VIT}# b\n"})
        here = repository()
        for sources in (["a?.yaml"], ["a?.yaml", "ab.yaml"]):
            found = here.copies(here.commit("HEAD"), [*sources, "own.yaml"], ("new.yaml",))
            assert found == {"new.yaml": sources[-1]}

    def test_the_last_commit_that_changed_a_file(self, root: Path) -> None:
        first = commit(root, {"a[b].json": "1", "ab.json": "1"})
        commit(root, {"ab.json": "2"})
        found = repository().last_change("a[b].json")
        assert found is not None
        assert found.sha == first
        assert repository().last_change("none.json") is None

    def test_an_ignored_file_that_git_tracks_is_not_gone_for_one_that_it_does_not(self, root: Path) -> None:
        commit(root, {"kept.yaml": "a: 1\n"})
        write(root, {".gitignore": "kept.yaml\n", "new.yaml": "b: 2\n"})
        assert repository().moves(repository().commit("HEAD")) == Moves({}, (), ("new.yaml",))


class TestMergeBase:
    def test_what_the_base_gained_since_is_not_compared(self, root: Path) -> None:
        fork = git(root, "rev-parse", "HEAD")
        git(root, "checkout", "-q", "-b", "feature")
        commit(root)
        git(root, "checkout", "-q", "main")
        commit(root, {"encoders/h.yaml": WIDE})
        git(root, "checkout", "-q", "--detach", "feature")
        found = base("main")
        assert (found.commit.sha, str(found), found.why) == (fork, f"main ({fork[:7]})", "--base main")
        label = load_located("encoders/h.yaml", files=Tree(repository(), found.commit)).label
        assert label == f"{fork[:7]}:encoders/h.yaml"  # not main's: that has other lines

    def test_unrelated_histories(self, root: Path) -> None:
        git(root, "checkout", "-q", "--orphan", "other")
        commit(root)
        assert codes_of(base, "main") == ("no-common-ancestor",)

    def test_a_shallow_clone_and_that_the_remedy_works(self, root: Path, tmp_path: Path, monkeypatch) -> None:
        git(root, "checkout", "-q", "-b", "feature")
        commit(root)
        git(root, "checkout", "-q", "main")
        commit(root, {"encoders/h.yaml": WIDE})
        git(tmp_path, "clone", "-q", "--depth", "1", "--branch", "feature", f"file://{root}", "clone")
        monkeypatch.chdir(tmp_path / "clone")
        remedy = "git fetch --unshallow origin main:refs/remotes/origin/main"
        assert (
            error_of(base, "main") == f"there is no commit 'main' here; to fetch it: {remedy} [unknown-ref]"
        )
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_BASE_REF", "main")
        said = error_of(base)
        assert said == (
            f"this clone does not have the base origin/main (GITHUB_BASE_REF): {remedy} (here: give actions/checkout "
            "`fetch-depth: 0`) [base-not-fetched]"
        )
        git(tmp_path / "clone", "fetch", "-q", "--depth", "1", "origin", "main:refs/remotes/origin/main")
        said = error_of(base)
        assert "[shallow-clone]" in said
        assert "origin/main: git fetch --unshallow" in said
        assert said.endswith("[shallow-clone]")
        git(tmp_path / "clone", *remedy.split()[1:])
        assert base().commit.sha == git(root, "rev-parse", "main~1")

    def test_steps_after_the_cut(self, root: Path, tmp_path: Path, monkeypatch) -> None:
        commit(root)
        git(tmp_path, "clone", "-q", "--depth", "1", f"file://{root}", "clone")
        monkeypatch.chdir(tmp_path / "clone")
        monkeypatch.setenv("GITLAB_CI", "true")
        said = error_of(base, "HEAD~1")
        assert (
            said
            == "there is no commit 'HEAD~1' here: git fetch --unshallow origin (here: set the variable `GIT_DEPTH: 0`) [unknown-ref]"
        )


class TestAuto:
    @pytest.fixture
    def clone(self, root: Path, tmp_path: Path, monkeypatch) -> Path:
        """On a branch of one commit, which left main when that had two commits; it has three."""
        commit(root)
        git(tmp_path, "clone", "-q", f"file://{root}", "clone")
        commit(root)
        clone = tmp_path / "clone"
        git(clone, "checkout", "-q", "-b", "feature")
        commit(clone)
        git(clone, "fetch", "-q")
        monkeypatch.chdir(clone)
        return clone

    def test_outside_of_ci(self, clone: Path) -> None:
        found = base()
        assert (found.ref, found.commit.sha) == ("origin/HEAD", git(clone, "rev-parse", "HEAD~1"))
        assert found.why == "CI names no base, and origin/HEAD exists"

    def test_without_a_remote(self, root: Path) -> None:
        assert base().ref == "main"
        git(root, "branch", "-m", "work")
        assert codes_of(base) == ("no-main-branch",)
        git(root, "branch", "master")
        assert base().ref == "master"

    @pytest.mark.parametrize(
        ("ci", "name", "value"),
        [
            ("GITHUB_ACTIONS", "GITHUB_BASE_REF", "main"),
            ("GITLAB_CI", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"),
            ("BITBUCKET_BUILD_NUMBER", "BITBUCKET_PR_DESTINATION_BRANCH", "main"),
            ("BUILDKITE", "BUILDKITE_PULL_REQUEST_BASE_BRANCH", "main"),
            ("TF_BUILD", "SYSTEM_PULLREQUEST_TARGETBRANCH", "refs/heads/main"),
            ("CHANGE_TARGET", "CHANGE_TARGET", "main"),
        ],
    )
    def test_of_each_ci(self, clone: Path, monkeypatch, ci: str, name: str, value: str) -> None:
        git(clone, "checkout", "-q", "--detach")
        git(clone, "branch", "-q", "-D", "main", "feature")
        monkeypatch.setenv(ci, value)
        monkeypatch.setenv(name, value)
        found = base()
        assert (found.ref, found.why) == ("origin/main", name)
        assert found.commit.sha == git(clone, "rev-parse", "HEAD~1")

    def test_gitlab_names_commits(self, clone: Path, monkeypatch) -> None:
        first, second = git(clone, "rev-parse", "HEAD~2"), git(clone, "rev-parse", "HEAD~1")
        monkeypatch.setenv("GITLAB_CI", "true")
        monkeypatch.setenv("CI_COMMIT_BEFORE_SHA", "0" * 40)
        assert base().ref == "origin/HEAD"  # a pipeline of a new branch
        monkeypatch.setenv("CI_MERGE_REQUEST_DIFF_BASE_SHA", first)
        assert (base().commit.sha, base().why) == (first, "CI_MERGE_REQUEST_DIFF_BASE_SHA")
        monkeypatch.setenv("CI_MERGE_REQUEST_TARGET_BRANCH_SHA", second)
        assert base().commit.sha == second

    def event(self, folder: Path, monkeypatch, payload: object) -> None:
        (folder / "event.json").write_text(json.dumps(payload))
        monkeypatch.setenv("GITHUB_EVENT_PATH", str(folder / "event.json"))
        monkeypatch.setenv("GITHUB_ACTIONS", "true")

    def test_github_push(self, clone: Path, tmp_path: Path, monkeypatch) -> None:
        before = git(clone, "rev-parse", "HEAD~2")
        self.event(tmp_path, monkeypatch, {"before": before})
        assert (base().commit.sha, base().why) == (before, "before in GITHUB_EVENT_PATH")
        self.event(tmp_path, monkeypatch, {"before": "0" * 40})
        assert base().ref == "origin/HEAD"
        self.event(tmp_path, monkeypatch, {"before": "1" * 40})
        said = error_of(base)
        assert "(before in GITHUB_EVENT_PATH): git fetch origin 1111" in said
        assert said.endswith(" [base-not-fetched]")

    def test_github_merge_group(self, clone: Path, tmp_path: Path, monkeypatch) -> None:
        before = git(clone, "rev-parse", "HEAD~1")
        self.event(tmp_path, monkeypatch, {"merge_group": {"base_sha": before}})
        assert base().commit.sha == before

    @pytest.mark.usefixtures("clone")
    @pytest.mark.parametrize("event", [[], "text", None, {"pull_request": 3}])
    def test_an_event_that_says_nothing(self, tmp_path: Path, monkeypatch, event: object) -> None:
        self.event(tmp_path, monkeypatch, event)
        assert base().ref == "origin/HEAD"

    def test_the_merge_that_github_checks_out(
        self, clone: Path, root: Path, tmp_path: Path, monkeypatch
    ) -> None:
        git(clone, "checkout", "-q", "--detach", "origin/main")
        git(clone, "merge", "-q", "--no-ff", "feature", "-m", "Merge")
        self.event(tmp_path, monkeypatch, {"pull_request": {"base": {"sha": "1" * 40}}})
        monkeypatch.setenv("GITHUB_BASE_REF", "main")
        monkeypatch.setenv("GITHUB_REF", "refs/pull/1/merge")
        assert base().commit.sha == git(root, "rev-parse", "main")
        git(clone, "branch", "-r", "-d", "origin/main")  # as with fetch-depth: 2
        git(clone, "branch", "-D", "main")
        found = base()
        assert (found.commit.sha, found.ref) == (git(root, "rev-parse", "main"), "HEAD^1")


class TestSubmodules:
    @pytest.fixture
    def outer(self, root: Path, tmp_path: Path) -> Path:
        outer = new(tmp_path / "outer", {"own.yaml": "extends: sub/encoders/h.yaml\n"})
        git(outer, "submodule", "add", "-q", f"file://{root}", "sub")
        commit(outer)
        commit(root, {"encoders/h.yaml": WIDE})
        git(outer / "sub", "pull", "-q")
        return outer

    def test_it_is_read_as_the_commit_has_it(self, outer: Path, monkeypatch) -> None:
        monkeypatch.chdir(outer)
        assert load_config("own.yaml").stages[0].window_size == (4, 4)
        assert windows("own.yaml") == windows("sub/encoders/h.yaml") == 2
        commit(outer)
        assert windows("sub/encoders/h.yaml") == 4
        assert windows("sub/encoders/h.yaml", "HEAD~1") == 2
        assert tree().glob(Path(), "**/*.yaml") == [Path("own.yaml"), Path("sub/encoders/h.yaml")]

    def test_a_link_into_it_is_followed(self, outer: Path, monkeypatch) -> None:
        monkeypatch.chdir(outer)
        (outer / "link.yaml").symlink_to("sub/encoders/h.yaml")
        (outer / "folder").symlink_to("sub/encoders")
        commit(outer)
        assert windows("link.yaml") == windows("folder/h.yaml") == 4
        assert tree().glob(Path(), "folder/*.yaml") == [Path("folder/h.yaml")]
        assert not tree().exists(Path("folder/new.yaml"))

    def test_one_that_is_not_here(self, outer: Path, tmp_path: Path, monkeypatch) -> None:
        git(tmp_path, "clone", "-q", f"file://{outer}", "clone")
        monkeypatch.chdir(tmp_path / "clone")
        remedy = "git submodule update --init sub [no-submodule]"
        assert error_of(windows, "sub/encoders/h.yaml").endswith(remedy)
        assert error_of(tree().glob, Path(), "sub/*.yaml").endswith(remedy)
        assert not tree().exists(Path("none.yaml"))
        assert tree().glob(Path(), "**/*.yaml") == [Path("own.yaml")]

    def test_one_without_the_commit(self, outer: Path, monkeypatch) -> None:
        monkeypatch.chdir(outer)
        git(outer, "update-index", "--cacheinfo", f"160000,{'1' * 40},sub")
        git(outer, "commit", "-q", "-m", "a commit that is nowhere")
        said = error_of(windows, "sub/encoders/h.yaml")
        assert "the submodule sub does not have commit 1111111, which HEAD refers to" in said
        assert said.endswith(f": git -C sub fetch origin {'1' * 40} [base-not-fetched]")


def test_a_repository_is_frozen() -> None:
    assert Repository(Path("/x"), is_shallow=False) == Repository(Path("/x"), is_shallow=False)
