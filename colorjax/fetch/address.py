"""One file from an address, with its SHA-256 known before."""

from pathlib import Path

from colorjax import files, hub
from colorjax.errors import UserError, first_line
from colorjax.release import sums

TOO_FAR = 416  # HTTP's answer to a range that begins after the end


def download(url: str, path: Path, sha256: str, most_bytes: int) -> None:
    """Downloads a file, from where an earlier try was cut, even by the end of its process.

    The bytes come into `<path>.part` until they are all there and hash to what is known.

    Args:
        most_bytes: more are not taken.

    Raises:
        UserError: it cannot be had, or has other bytes or too many, which are deleted.
    """
    partial = path.with_name(f"{path.name}.part")
    if path.is_file() and sums.digest(path) == sha256:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        if sums.digest(partial) != sha256:
            _continue(url, partial, most_bytes)
    except UserError:
        partial.unlink()
        raise
    except OSError as error:
        if error.errno:
            raise files.unwritable(partial, error) from error
        if getattr(getattr(error, "response", None), "status_code", 0) == TOO_FAR:
            partial.unlink()  # it has more bytes than there are
        raise _failed(url, error) from error
    except Exception as error:  # of the HTTP library, of many kinds
        raise _failed(url, error) from error
    if sums.digest(partial) != sha256:
        partial.unlink()
        raise UserError(
            f"'{url}' gave other bytes than those that are known (SHA-256 {sha256}); they are "
            "deleted: try again, or give the file by --from"
        )
    files.put_in_place(partial, path)


def _continue(url: str, partial: Path, most_bytes: int) -> None:
    # The hub's client has what a download needs and knows proxies; others are told no token.
    from huggingface_hub.file_download import http_get

    bar = hub.limited(lambda: most_bytes, lambda: too_much(f"'{url}'", most_bytes))
    with partial.open("ab") as file:
        size, name = file.tell(), partial.stem
        http_get(url, file, resume_size=size, displayed_filename=name, tqdm_class=bar)


def too_much(what: str, most_bytes: int) -> UserError:
    """The sentence for a place that sends more than can be meant; its bytes are to be deleted."""
    return UserError(
        f"{what} has more than {most_bytes / 1e6:,.0f} MB, which cannot be what is meant; what "
        "came is deleted: try again later, or get the file by other means and give it by --from"
    )


def _failed(url: str, error: Exception) -> UserError:
    return UserError(
        f"'{url}' could not be downloaded ({first_line(error)}); try again, which goes on where it "
        "stopped, or get the file by other means and give it by --from"
    )
