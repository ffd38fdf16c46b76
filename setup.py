"""Packaging: everything here is read from settings.ini, so a fact about the package is written once."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]
groups = ["hnsw", "torch", "hub", "annotate", "docs", "cluster", "milvus", "bench", "dev"]
extras = {g: cfg[f"{g}_requirements"].split() for g in groups}
extras["all"] = sorted({r for g in ("hnsw", "torch", "hub", "annotate") for r in extras[g]})

setup(
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    license=cfg["license"],
    keywords=cfg["keywords"].split(", "),
    packages=["anchoral", "anchoral.static", "anchoral.study", "anchoral.annotator", "anchoral.teach"],
    package_data={"anchoral.static": ["*"]},
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={"console_scripts": [cfg["console_scripts"]], "nbdev": ["anchoral=anchoral._modidx:d"]},
)
