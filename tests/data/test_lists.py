from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semiseg.data.lists import Sample, read_list, write_list
from semiseg.data.spec import PAIRS, DatasetSpec
from semiseg.errors import DataError

SINGLE = DatasetSpec(name="fields", classes=("soil", "crop"))


def test_lines_may_be_tabbed_spaced_indented_empty_or_without_a_mask(tmp_path: Path) -> None:
    text = (
        "a.jpg m/a.png\r\n\r\n  b.jpg   m/b.png  \nmy photo.jpg\tm/my photo.png\nc.jpg None\nd.jpg\ne.jpg \t m/e.png\n"
    )
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())  # as an editor on Windows writes it
    samples = read_list(tmp_path / "list.txt", tmp_path, SINGLE)
    assert [sample.id for sample in samples] == ["a.jpg", "b.jpg", "my photo.jpg", "c.jpg", "d.jpg", "e.jpg"]
    masks = [sample.mask and sample.mask.relative_to(tmp_path).as_posix() for sample in samples]
    assert masks == ["m/a.png", "m/b.png", "m/my photo.png", None, None, "m/e.png"]
    assert samples[0].frames == (tmp_path / "a.jpg",)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("../secret.jpg m.png", "path '../secret.jpg' leaves the data folder"),
        ("a/../../b.jpg", "path 'a/../../b.jpg' leaves"),
        ("/etc/passwd m.png", "path '/etc/passwd' leaves"),
        ("a.jpg ../m.png", "path '../m.png' leaves"),
        ("my photo.jpg m.png", "3 fields in a line"),
        ("a.jpg\tm.png\tx", "3 fields in a line"),
    ],
)
def test_a_wrong_line_is_named_by_file_and_number(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"good.jpg good.png\n{line}\n")
    with pytest.raises(DataError) as raised:
        read_list(path, tmp_path, SINGLE)
    assert says in str(raised.value)
    assert f"{path}, line 2" in str(raised.value)
    assert "remedy:" in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\n  \n", b"\xff\xfe\x00", None])
def test_an_empty_unreadable_or_missing_list_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"(?s)(empty|unreadable) list.*list\.txt.*remedy"):
        read_list(tmp_path / "list.txt", tmp_path, SINGLE)


def test_masks_are_left_out_where_they_are_not_wanted(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg m/a.png\nb.jpg\n")
    samples = read_list(tmp_path / "list.txt", tmp_path, SINGLE, masks=False)
    assert [(sample.id, sample.mask) for sample in samples] == [("a.jpg", None), ("b.jpg", None)]


def sample(root: Path, image: str, mask: str | None) -> Sample:
    return Sample(image, (root / image,), root / mask if mask else None)


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=9)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAMES, st.none() | NAMES), min_size=1, max_size=4))
def test_what_is_written_is_read_again_or_refused(tmp_path: Path, names: list[tuple[str, str | None]]) -> None:
    samples = [sample(tmp_path, f"i/{image}.jpg", f"m/{mask}.png" if mask else None) for image, mask in names]
    path = tmp_path / "list.txt"
    path.unlink(missing_ok=True)
    try:
        write_list(path, samples, tmp_path)
    except DataError as error:
        assert "no list can hold" in str(error)  # noqa: PT017
        assert any(char.isspace() or not char.isprintable() for char in "".join(map(str, names)))
        assert not path.exists()
    else:
        assert read_list(path, tmp_path, SINGLE) == samples


@pytest.mark.parametrize("name", ["a\tb.jpg", "a\nb.jpg", "a.jpg ", "a\u2028b.jpg", "\ufeffa.jpg"])
def test_a_name_that_no_list_can_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no list can hold"):
        write_list(tmp_path / "list.txt", [sample(tmp_path, name, None)], tmp_path)


def test_names_with_spaces_are_kept(tmp_path: Path) -> None:
    samples = [sample(tmp_path, "my photo.jpg", None), sample(tmp_path, "a.jpg", "my mask.png")]
    write_list(tmp_path / "list.txt", samples, tmp_path)
    assert read_list(tmp_path / "list.txt", tmp_path, SINGLE) == samples


# Pairs


def pair(root: Path, name: str, first: str, second: str, mask: str | None) -> Sample:
    return Sample(name, (root / first, root / second), root / mask if mask else None)


def test_a_pair_is_listed_by_its_name_or_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(
        "one.png\nnorth/two.png\nA/3.jpg B/3.png label/3.png\nold/4.png new/4.png\nA/5.png B/5.png None\n"
    )
    pairs = [
        pair(tmp_path, "one.png", "A/one.png", "B/one.png", "label/one.png"),
        pair(tmp_path, "north/two.png", "A/north/two.png", "B/north/two.png", "label/north/two.png"),
        pair(tmp_path, "3.jpg", "A/3.jpg", "B/3.png", "label/3.png"),
        pair(tmp_path, "old/4.png", "old/4.png", "new/4.png", None),
        pair(tmp_path, "5.png", "A/5.png", "B/5.png", None),
    ]
    assert read_list(tmp_path / "list.txt", tmp_path, PAIRS) == pairs
    bare = read_list(tmp_path / "list.txt", tmp_path, PAIRS, masks=False)
    assert [(found.id, found.mask) for found in bare] == [(found.id, None) for found in pairs]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("../x.png", "path 'A/../x.png' leaves the data folder"),
        ("A/x.png ../B/x.png", "path '../B/x.png' leaves"),
        ("A/x.png B/x.png ../x.png", "path '../x.png' leaves"),
        ("A/x.png B/x.png label/x.png more", "4 fields in a line"),
    ],
)
def test_a_wrong_line_of_a_pair_is_named(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "list.txt").write_text(line)
    with pytest.raises(DataError) as raised:
        read_list(tmp_path / "list.txt", tmp_path, PAIRS)
    assert says in str(raised.value)
    assert "line 1" in str(raised.value)


@pytest.mark.parametrize("mask", ["label/my pair.png", None])
def test_pairs_are_written_as_they_are_read(tmp_path: Path, mask: str | None) -> None:
    samples = [
        pair(tmp_path, "my pair.png", "A/my pair.png", "B/my pair.png", mask),
        pair(tmp_path, "x.jpg", "A/x.jpg", "B/x.png", mask),
    ]
    write_list(tmp_path / "list.txt", samples, tmp_path)
    assert read_list(tmp_path / "list.txt", tmp_path, PAIRS) == samples
