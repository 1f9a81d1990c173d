"""Files: what is recognised, what is inferred, and every bad input with its message."""

from __future__ import annotations

import gzip
import warnings

import numpy as np
import polars as pl
import pytest

from taskloom.data._checks import LeakWarning
from taskloom.data.split import GroupedSplit
from taskloom.data.table import read_features, read_table
from taskloom.errors import DataError, TaskloomError
from taskloom.task import Binary, Multiclass, Regression, Task


def rows(n=60, seed=0):
    random = np.random.default_rng(seed)
    return [
        {
            "age": int(random.integers(18, 90)),
            "colour": str(random.choice(["red", "green", "blue"])),
            "seen": f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}",
            "price": round(float(random.normal(100, 20)), 2),
            "stars": int(random.integers(1, 6)),
            "sold": str(random.choice(["yes", "no"])),
        }
        for i in range(n)
    ]


def write(path, table, separator=",", encoding="utf-8"):
    lines = [separator.join(table[0])] + [
        separator.join("" if v is None else str(v) for v in row.values()) for row in table
    ]
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "shop.csv", rows())


TARGETS = ["price", "stars", "sold"]


def test_kinds_are_inferred(table):
    data = read_table(table, targets=TARGETS)
    assert [task.kind for task in data.tasks] == [
        Regression(),
        Multiclass(5, ("1", "2", "3", "4", "5")),
        Binary(("no", "yes")),
    ]
    assert [(column.name, column.kind) for column in data.features] == [
        ("age", "numeric"),
        ("colour", "categorical"),
        ("seen", "date"),
    ]
    assert data.features[1].categories == ("blue", "green", "red")
    assert data.features[2].values[0] == (np.datetime64("2024-01-01") - np.datetime64("1970-01-01")).astype(int)
    assert any("'stars'" in notice and "5 classes" in notice and "regression" in notice for notice in data.notices)
    assert data.origin.source == "shop.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separator_is_recognised(tmp_path, separator):
    data = read_table(write(tmp_path / "a.txt", rows(), separator), targets=TARGETS)
    assert (data.n_rows, data.n_features) == (60, 3)


def test_same_data_from_every_kind_of_file(tmp_path, table):
    expected = read_table(table, targets=TARGETS).fingerprint
    frame = pl.read_csv(table)
    frame.write_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(table.read_bytes()))
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    (tmp_path / "mark.csv").write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    (tmp_path / "wide.csv").write_bytes(table.read_text().encode("utf-16"))
    (tmp_path / "windows.csv").write_bytes(table.read_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "blank.csv").write_bytes(b"\n" + table.read_bytes() + b"\n\n")
    for name in ("a.parquet", "a.csv.gz", "a.parquet.gz", "mark.csv", "wide.csv", "windows.csv", "blank.csv"):
        assert read_table(tmp_path / name, targets=TARGETS).fingerprint == expected, name


def test_quotes_separators_and_line_breaks_in_cells(tmp_path):
    lines = ['"the ""size"", in m",y,note']
    lines += [f'{i * 0.5},{i * i % 17},"{"a, b" if i % 2 else "line" + chr(10) + "break"}"' for i in range(40)]
    path = tmp_path / "quoted.csv"
    path.write_text("\n".join(lines))
    data = read_table(path, targets="y")
    assert data.n_rows == 40
    assert [column.name for column in data.features] == ['the "size", in m', "note"]
    assert data.features[1].categories == ("a, b", "line\nbreak")


def test_blank_lines_and_odd_line_ends(tmp_path):
    lines = ['"a', 'b",y', *(f"{i * 0.5},{i * i % 17}" for i in range(40))]
    path = tmp_path / "a.csv"
    for end in ("\n", "\r\n", "\r", "\n\n"):
        path.write_bytes(end.join([lines[0] + "\n" + lines[1], *lines[2:]]).encode())
        data = read_table(path, targets="y")
        assert (data.n_rows, data.features[0].name) == (40, "a\nb")
    path.write_text(
        "\n".join(f"{i % 7},one\x0bword\u2028more{i % 3},{i * i % 17}" if i else "x,c,y" for i in range(40))
    )
    assert read_table(path, targets="y").n_rows == 39


def test_decimal_commas(tmp_path):
    table = [{"x": f"{i},5", "y": f"-{i % 7},25"} for i in range(40)]
    data = read_table(write(tmp_path / "a.csv", table, ";"), targets="y")
    assert data.features[0].values[3] == 3.5
    assert data.targets["y"][3] == -3.25
    assert any("decimal commas" in notice for notice in data.notices)


def test_words_for_missing(tmp_path):
    words = ["", "NA", "n/a", "NaN", "null", "?", "#N/A", " "]
    table = [
        {"x": words[i % 8] if i < 16 else i, "c": words[i % 8] if i < 16 else "ab"[i % 2], "y": i % 13}
        for i in range(60)
    ]
    data = read_table(write(tmp_path / "a.csv", table), targets="y")
    assert [column.kind for column in data.features] == ["numeric", "categorical"]
    assert [int(column.is_missing.sum()) for column in data.features] == [16, 16]


def test_missing_labels(tmp_path):
    table = rows()
    for i, row in enumerate(table):
        if i % 3 == 0:
            row["price"] = None
        if i % 4 == 0:
            row["sold"] = None
    data = read_table(write(tmp_path / "a.csv", table), targets=["price", "sold"])
    assert [int(data.mask[name].sum()) for name in ("price", "sold")] == [40, 45]
    assert any("5 of 60 rows have no label of any task" in notice for notice in data.notices)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1, 2], Multiclass(3)),
        ([1, 2, 3, 4, 5], Multiclass(5, ("1", "2", "3", "4", "5"))),
        ([2, 3, 4], Regression()),
        ([0, 2, 4], Regression()),
        (list(range(12)), Regression()),
        ([-1, 1], Binary(("-1", "1"))),
        ([0, 1], Binary()),
        ([0.5, 1.5], Binary(("0.5", "1.5"))),
        ([0.5, 1.5, 2.5], Regression()),
        (["b", "a"], Binary(("a", "b"))),
        (["x", "y", "z"], Multiclass(3, ("x", "y", "z"))),
        (["True", "False"], Binary(("False", "True"))),
        ([1.0, 2.0, 10.0], Regression()),
    ],
)
def test_target_kinds(tmp_path, values, kind):
    random = np.random.default_rng(0)
    table = [{"x": round(random.normal(), 4), "y": values[i % len(values)]} for i in range(60)]
    data = read_table(write(tmp_path / "a.csv", table), targets="y")
    assert data.tasks[0].kind == kind
    assert data.mask["y"].all()
    if kind.n_classes:
        assert np.bincount(data.targets["y"]).min() > 0


def test_kinds_override(tmp_path, table):
    data = read_table(
        table,
        targets=TARGETS,
        kinds={"stars": "regression", "age": "categorical", "colour": "text", "sold": "multiclass"},
    )
    assert [task.kind.name for task in data.tasks] == ["regression", "regression", "multiclass"]
    assert [(column.name, column.kind) for column in data.features] == [("age", "categorical"), ("seen", "date")]
    assert all(text.isdigit() for text in data.features[0].categories)
    for kinds, message in [
        ({"age": "numerical"}, "Did you mean 'numeric'"),
        ({"agee": "numeric"}, "Did you mean 'age'"),
        ({"age": "binary"}, "the column is a feature"),
        ({"price": "numeric"}, "the column is a target"),
        ({"colour": "numeric"}, r"'(red|green|blue)' in data row \d+"),
        ({"colour": "date"}, "write dates as"),
        ({"sold": "regression"}, "must hold a number"),
        ({"stars": "binary"}, "has 5 values"),
    ]:
        with pytest.raises(DataError, match=message):
            read_table(table, targets=TARGETS, kinds=kinds)


def test_task_objects_as_targets(table):
    task = Task(name="별점 / stars.5", kind=Multiclass(6), target="stars", loss_weight=2.0)
    data = read_table(table, targets=[task, "price"])
    assert data.tasks[0] is task
    assert set(data.targets[task.name].tolist()) == {1, 2, 3, 4, 5}
    with pytest.raises(DataError, match="3 classes"):
        read_table(table, targets=Task(name="stars", kind=Multiclass(3)))


def test_what_is_ignored_is_said(tmp_path):
    random = np.random.default_rng(0)
    table = [
        {
            "id": 1000 + 7 * i,
            "code": f"K{i:04d}",
            "same": "x",
            "empty": None,
            "comment": f"this is what person {i} said at some length about everything that came to mind",
            "zip": f"0{1000 + i % 5}",
            "subject#": i // 6,
            "size": round(random.normal(), 4),
            "dropped": round(random.normal(), 4),
            "y": round(random.normal(), 4),
        }
        for i in range(60)
    ]
    data = read_table(write(tmp_path / "a.csv", table), targets="y", drop=["dropped"])
    assert [(column.name, column.kind) for column in data.features] == [
        ("zip", "categorical"),
        ("subject#", "numeric"),
        ("size", "numeric"),
    ]
    assert {column.name: column.kind for column in data.origin.ignored} == {
        "id": "identifier",
        "code": "identifier",
        "same": "constant",
        "empty": "empty",
        "comment": "text",
        "dropped": "dropped",
    }
    joined = "\n".join(data.notices)
    for name in ("id", "code", "same", "empty", "comment"):
        assert name in joined
    assert "'subject#' looks like an identifier (10 values in 60 rows)" in joined
    text = str(data.describe())
    assert "ignored" in text
    assert "always x" in text


def test_task_column(tmp_path):
    random = np.random.default_rng(0)
    names = ["1.0", "2.0", "10.0"]
    table = [
        {"school": names[i % 3], "x": round(random.normal(), 4), "score": int(random.integers(1, 70))}
        for i in range(90)
    ]
    data = read_table(write(tmp_path / "a.csv", table), targets="score", task_column="school")
    assert [task.name for task in data.tasks] == ["1", "2", "10"]
    assert data.layout == "multi_data_set"
    assert data.common_target
    assert data.task_ids[:4].tolist() == [0, 1, 2, 0]
    assert all(np.array_equal(data.mask[task.name], data.task_ids == k) for k, task in enumerate(data.tasks))
    assert "3 tasks: 1, 2, 10" in str(data.describe())


def test_task_names_may_be_any_text(tmp_path):
    random = np.random.default_rng(0)
    names = ["서울 1.2/a", "b c", "Ünïcode"]
    table = [{"where": names[i % 3], "x": round(random.normal(), 4), "y": i % 2} for i in range(60)]
    table[0]["where"] = None
    data = read_table(write(tmp_path / "a.csv", table), targets="y", task_column="where")
    assert sorted(task.name for task in data.tasks) == sorted(names)
    assert data.n_rows == 59
    assert any("1 rows name no task" in notice for notice in data.notices)


def test_groups_and_times(tmp_path):
    table = rows(60)
    for i, row in enumerate(table):
        row["patient"] = f"p{i // 6}" if i else None
    data = read_table(write(tmp_path / "a.csv", table), targets="price", group_column="patient")
    assert len(set(data.groups.tolist())) == 11
    assert any("group of its own" in notice for notice in data.notices)
    data = read_table(tmp_path / "a.csv", targets="price", time_column="seen")
    assert data.times[0] == 19723.0
    assert "2024-01-01 to 2024-12-" in str(data.describe())
    assert all(column.name != "seen" for column in data.features)


# ---------------------------------------------------------------------------------------------- bad input


def refuses(path, message, **changes):
    arguments = {"targets": "price", **changes}
    with pytest.raises(DataError, match=message) as caught:
        read_table(path, **arguments)
    text = str(caught.value)
    assert isinstance(caught.value, TaskloomError)
    assert "\n" not in text
    assert 40 < len(text) < 600
    return text


def test_missing_file(table):
    refuses(table.parent / "shopp.csv", "there is no file.*Did you mean 'shop.csv'")
    refuses(table.parent / "none" / "shop.csv", "no folder")
    refuses(table.parent, "is a folder")


def test_empty_files(tmp_path):
    (tmp_path / "a.csv").write_text("")
    refuses(tmp_path / "a.csv", "is empty")
    (tmp_path / "a.csv").write_text("\n \n")
    refuses(tmp_path / "a.csv", "is empty")
    (tmp_path / "a.csv").write_text("price,x\n")
    refuses(tmp_path / "a.csv", "no rows")
    pl.DataFrame({"price": [], "x": []}).write_parquet(tmp_path / "a.parquet")
    refuses(tmp_path / "a.parquet", "no rows")


def test_ragged(tmp_path, table):
    lines = table.read_text().splitlines()
    short, long = lines.copy(), lines.copy()
    short[10] = "30,red"
    long[20] += ",more"
    (tmp_path / "a.csv").write_text("\n".join(short))
    refuses(tmp_path / "a.csv", r"line 11 of .* has 2 cells, its header 6 \(separator: comma\)")
    (tmp_path / "a.csv").write_text("\n".join(long))
    refuses(tmp_path / "a.csv", "line 21 of .* has 7 cells, its header 6")
    (tmp_path / "a.csv").write_text("\n".join(['"a","b",c,d,e,price', *long[1:]]))
    refuses(tmp_path / "a.csv", "line 21 of .* has 7 cells, its header 6")


def test_badly_quoted(tmp_path, table):
    lines = table.read_text().splitlines()
    lines[5] = '30,"red" and "blue",2024-01-01,1.0,3,yes'
    (tmp_path / "a.csv").write_text("\n".join(lines))
    refuses(tmp_path / "a.csv", "badly quoted from line 6 on")
    lines[5] = '30,"red,2024-01-01,1.0,3,yes'
    (tmp_path / "a.csv").write_text("\n".join(lines))
    refuses(tmp_path / "a.csv", "badly quoted from line 6 on")


def test_wrong_encoding(tmp_path):
    table = rows()
    for row in table:
        row["colour"] = "grün" if row["colour"] == "green" else row["colour"]
    path = write(tmp_path / "a.csv", table, encoding="cp1252")
    refuses(path, r"is not UTF-8 text: byte 0xfc in line \d+.*encoding='cp1252'")
    assert "grün" in read_table(path, targets="price", encoding="cp1252").features[1].categories
    refuses(path, "encoding 'utf-99' is not known", encoding="utf-99")
    refuses(path, "is not ascii text", encoding="ascii")


def test_no_text_at_all(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"PK\x03\x04 and so on")
    refuses(tmp_path / "a.csv", "spreadsheet")
    (tmp_path / "a.csv").write_bytes(b"a,b\n\x00\x01,2\n")
    refuses(tmp_path / "a.csv", "zero bytes")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 broken")
    refuses(tmp_path / "a.parquet", "no sound Parquet")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 100)[:20])
    refuses(tmp_path / "a.csv.gz", "cannot be read")


def test_separator_arguments(tmp_path, table):
    refuses(table, "one character", separator=", ")
    (tmp_path / "a.csv").write_text("price\n1\n2\n")
    refuses(tmp_path / "a.csv", "only one column")
    (tmp_path / "b.csv").write_text("price x\n" + "\n".join(f"{i % 7} {i}" for i in range(30)))
    refuses(tmp_path / "b.csv", "only one column")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_table(tmp_path / "b.csv", targets="price", separator=" ").n_features == 1


def test_duplicate_columns(tmp_path, table):
    text = table.read_text().replace("colour", "age", 1)
    (tmp_path / "a.csv").write_text(text)
    refuses(tmp_path / "a.csv", r"duplicate columns: age \(columns 1, 2\)")


def test_unknown_columns(table):
    refuses(table, "target 'pricee' is no column of the table. Did you mean 'price'", targets="pricee")
    refuses(table, "group_column 'agee' is no column.*'age'", group_column="agee")
    refuses(table, "drop 'zzz' is no column.*Known", drop=["zzz"])
    refuses(table, "targets names no column", targets=[])


def test_a_column_in_two_roles(table):
    refuses(table, "'price' is named as target and as group_column", group_column="price")
    refuses(table, "'age' is named as task_column and as time_column", task_column="age", time_column="age")
    refuses(table, "'price' is named as target and as target", targets=["price", "price"])
    refuses(table, "'price' is named as target and as drop", drop=["price"])
    refuses(table, "goes with one target, found 2", targets=["price", "stars"], task_column="colour")


def changed(tmp_path, change, n=60):
    table = rows(n)
    for i, row in enumerate(table):
        change(i, row)
    return write(tmp_path / "changed.csv", table)


def test_constant_and_empty_targets(tmp_path):
    refuses(
        changed(tmp_path, lambda i, row: row.update(price=5.0)), "'price' is constant: all 60 labelled rows are '5'"
    )
    refuses(changed(tmp_path, lambda i, row: row.update(price="x")), "'price' is constant")
    refuses(changed(tmp_path, lambda i, row: row.update(price=None)), "'price' has a label in no row")


def test_targets_that_are_neither_numbers_nor_classes(tmp_path):
    refuses(changed(tmp_path, lambda i, row: row.update(price=f"text {i}")), "60 different texts")
    refuses(changed(tmp_path, lambda i, row: None), "'seen' holds dates", targets="seen")


def test_a_class_of_one_member(tmp_path):
    path = changed(tmp_path, lambda i, row: row.update(sold="maybe" if i == 7 else row["sold"]))
    refuses(path, "task 'sold' has a class of one member: 'maybe'", targets=["price", "sold"])
    refuses(path, "target 'sold' has a class of one member: 'maybe'", targets="sold", task_column="colour")


def test_infinite_values(tmp_path):
    path = changed(tmp_path, lambda i, row: row.update(age="inf" if i == 3 else row["age"]))
    refuses(path, r"column 'age' has 1 infinite values \(the first in data row 4\)")
    path = changed(tmp_path, lambda i, row: row.update(price="-Infinity" if i == 3 else row["price"]))
    refuses(path, r"target of task 'price' has 1 infinite values \(the first in data row 4\)")


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_task_with_few_rows(tmp_path, count):
    path = changed(tmp_path, lambda i, row: row.update(colour="rare" if i < count else "common"))
    refuses(path, rf"1 task has fewer than 10 labelled rows: rare \({count}\)", task_column="colour")
    path = changed(tmp_path, lambda i, row: row.update(price=row["price"] if i < count else None))
    refuses(path, r"price|constant", targets=["price", "sold"])


def test_constant_in_one_task(tmp_path):
    path = changed(tmp_path, lambda i, row: row.update(price=3.0 if row["colour"] == "red" else row["price"]), n=120)
    refuses(path, "1 task has a constant target: red", task_column="colour")


def test_no_feature_left(tmp_path):
    path = changed(tmp_path, lambda i, row: row.update(age=1, seen="x"))
    refuses(path, r"no feature column.*\(age, seen\)", targets=["price", "stars", "sold"], group_column="colour")


def test_all_rows_in_one_group(tmp_path):
    path = changed(tmp_path, lambda i, row: row.update(colour="one"))
    data = read_table(path, targets="price", group_column="colour")
    with pytest.raises(DataError, match="at least three groups with labelled rows, found 1"):
        GroupedSplit().split(data, 0)


def test_missing_times(tmp_path):
    path = changed(tmp_path, lambda i, row: row.update(age=None if i == 2 else i))
    refuses(path, r"time column 'age' has 1 missing.*data row 3", time_column="age")


@pytest.mark.parametrize(
    ("copy", "correlation"),
    [(lambda row: 3.0 * row["price"] - 7.0, "1.0000"), (lambda row: -row["price"], "-1.0000")],
)
def test_copy_of_a_target_is_a_leak(tmp_path, copy, correlation):
    path = changed(tmp_path, lambda i, row: row.update(copied=copy(row)))
    with pytest.warns(LeakWarning, match=rf"'copied' is a copy of the target 'price' \(correlation {correlation}\)"):
        data = read_table(path, targets=["price", "sold"])
    assert sum(notice.startswith("leak") for notice in data.notices) == 1


def test_copy_of_classes_is_a_leak(tmp_path):
    path = changed(tmp_path, lambda i, row: row.update(word={"yes": "sold", "no": "kept"}[row["sold"]]))
    with pytest.warns(LeakWarning, match="'word' is a copy of the target 'sold'"):
        read_table(path, targets=["price", "sold"])


def test_nearly_a_copy_is_noticed_without_a_warning(tmp_path):
    random = np.random.default_rng(0)
    path = changed(tmp_path, lambda i, row: row.update(near=row["price"] + random.normal(0, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = read_table(path, targets="price")
    assert any("'near' has correlation 0.9" in notice for notice in data.notices)


def test_copy_in_several_data_sets(tmp_path):
    path = changed(tmp_path, lambda i, row: row.update(copied=row["price"]), n=90)
    with pytest.warns(LeakWarning, match="'copied' is a copy of the target 'price'"):
        read_table(path, targets="price", task_column="colour")


# ---------------------------------------------------------------------------------------------- new rows


def test_new_rows_for_prediction(tmp_path, table):
    data = read_table(table, targets=TARGETS, kinds={"age": "categorical"})
    new = [
        {"seen": "2025-01-01", "other": 1, "age": 33, "colour": "violet"},
        {"seen": "", "other": 1, "age": 34, "colour": ""},
    ]
    fresh = read_features(write(tmp_path / "new.csv", new), data.schema)
    assert (fresh.n_rows, fresh.layout) == (2, "multi_label")
    assert [column.name for column in fresh.features] == ["age", "colour", "seen"]
    assert not any(mask.any() for mask in fresh.mask.values())
    with pytest.raises(DataError, match=r"no column 'colour'.*Did you mean 'color'"):
        read_features(write(tmp_path / "b.csv", [{"age": 1, "color": "red", "seen": "2024-01-01"}]), data.schema)
    plain = read_table(table, targets=TARGETS)
    with pytest.raises(DataError, match="'old' in data row 1"):
        read_features(write(tmp_path / "b.csv", [{"age": "old", "colour": "red", "seen": "2024-01-01"}]), plain.schema)


def test_new_rows_of_several_data_sets(tmp_path, table):
    data = read_table(table, targets="price", task_column="colour")
    new = [{**rows(1)[0], "colour": colour} for colour in ("red", "blue")]
    assert read_features(write(tmp_path / "a.csv", new), data.schema).task_ids.tolist() == [2, 0]
    with pytest.raises(DataError, match=r"task 'bleu', which the model was not trained on\. Did you mean 'blue'"):
        read_features(write(tmp_path / "a.csv", [{**new[0], "colour": "bleu"}]), data.schema)
    with pytest.raises(DataError, match="name no task"):
        read_features(write(tmp_path / "a.csv", [{**new[0], "colour": None}]), data.schema)
