import os

import pytest

from unlearnbench.atomic import replace_file, replace_text


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_permissions_that_the_user_gives_to_files(tmp_path, mask):
    before = os.umask(mask)
    try:
        replace_text(tmp_path / "board.html", "ü")
    finally:
        os.umask(before)
    assert (tmp_path / "board.html").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "board.html").read_text(encoding="utf-8") == "ü"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "board.html"
    path.write_text("old", encoding="utf-8")

    def write(stream):
        stream.write(b"ne")
        raise error

    with pytest.raises(error):
        replace_file(path, write)
    assert path.read_text(encoding="utf-8") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["board.html"]


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        replace_text(tmp_path / "missing" / "board.html", "new")
