"""Data sets that benchmarks share, read from the folders below TASKLOOM_DATA (default ../shared/data)."""

from __future__ import annotations

import io
import os
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

import taskloom as tl

__all__ = ["DATA", "census", "omniglot"]

DATA = Path(os.environ.get("TASKLOOM_DATA", Path(__file__).parents[2] / "shared" / "data"))
_SIDE = 105  # of the original pictures


def census(n_rows: int = 8000) -> tl.MultiTaskData:
    """Income above 50,000 and never married, as Ma et al. (KDD 2018) paired them; rows drawn from the test part."""
    folder = DATA / "census_income_kdd"
    lines = (folder / "census-income.names").read_text().splitlines()
    names = [line.split(":")[0] for line in lines if ":" in line and not line.startswith("|")]
    frame = pl.read_csv(folder / "census-income.test.gz", has_header=False, new_columns=[*names, "income"])
    frame = frame.with_columns(pl.col(pl.String).str.strip_chars()).unique(maintain_order=True).sample(n_rows, seed=0)
    targets = {
        "income above 50,000": pl.col("income") == "50000+.",
        "never married": pl.col("marital stat") == "Never married",
    }
    codes = ("detailed industry recode", "detailed occupation recode", "own business or self employed")
    return tl.MultiTaskData.from_frame(
        frame.with_columns(**targets),
        targets=list(targets),
        drop=["income", "marital stat", "instance weight"],
        kinds=dict.fromkeys((*codes, "veterans benefits", "year"), "categorical"),
    )


def omniglot(n_alphabets: int = 50, *, shrink: int = 5) -> tl.MultiTaskData:
    """Which character of its alphabet a drawing shows: one task per alphabet, each with pictures of its own.

    Args:
        n_alphabets: the first so many in alphabetical order.
        shrink: side of the squares of pixels that become one, a divisor of 105; ink is 1, paper 0.
    """
    side = _SIDE // shrink
    parts: dict[str, tuple[list[np.ndarray], list[int]]] = defaultdict(lambda: ([], []))
    for archive in ("images_background.zip", "images_evaluation.zip"):
        with zipfile.ZipFile(DATA / "omniglot" / archive) as file:
            for name in sorted(one for one in file.namelist() if one.endswith(".png")):
                _, alphabet, character, _ = name.split("/")
                picture = 1.0 - np.asarray(Image.open(io.BytesIO(file.read(name))), dtype=np.float32)
                pixels, codes = parts[alphabet]
                pixels.append(picture.reshape(side, shrink, side, shrink).mean(axis=(1, 3)))
                codes.append(int(character.removeprefix("character")) - 1)
    chosen = sorted(parts)[:n_alphabets]
    tasks = [tl.Task(name=alphabet, kind=tl.Multiclass(max(parts[alphabet][1]) + 1)) for alphabet in chosen]
    return tl.MultiTaskData.from_tasks(
        {alphabet: (np.stack(parts[alphabet][0]), np.array(parts[alphabet][1])) for alphabet in chosen}, tasks
    )
