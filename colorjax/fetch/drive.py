"""A file of a shared folder of Google Drive, by gdown: `pip install 'colorjax[drive]'`."""

import glob
from pathlib import Path

from colorjax.errors import UserError, first_line
from colorjax.fetch.address import too_much

FOLDER = "https://drive.google.com/drive/folders/"
RETRIES = 5


def download(folder: str, path: Path, most_bytes: int) -> None:
    """Downloads the file that is called like `path`, from where an earlier try was cut.

    Drive tells no digest: what comes is checked by its conversion, tensor for tensor.

    Args:
        most_bytes: where more come, all are deleted.

    Raises:
        UserError: gdown is not installed, or Drive does not give the file, or one without end.
    """
    by_hand = f"download '{path.name}' in a browser from {FOLDER}{folder} and give it by --from"
    try:
        import gdown
    except ImportError as error:
        raise UserError(
            f"downloads from Google Drive need gdown: pip install 'colorjax[drive]', or {by_hand}"
        ) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        listed = gdown.download_folder(id=folder, skip_download=True, quiet=True, use_cookies=False)
        identities = {Path(e.path).name: e.id for e in listed if not isinstance(e, str)}
        if path.name not in identities:
            raise UserError(
                f"the Drive folder has no {path.name!r} but {', '.join(identities)}; {by_hand}"
            )
        _download(identities[path.name], path, most_bytes)
    except UserError:
        raise
    except Exception as error:  # gdown's own, its HTTP library's and the system's
        raise UserError(
            f"Google Drive does not give '{path.name}' ({first_line(error)}); try again later, "
            f"which goes on where it stopped, or {by_hand}"
        ) from error


def _download(identity: str, path: Path, most_bytes: int) -> None:
    import gdown

    def check(taken: int, _total: int | None) -> None:
        if taken > most_bytes:
            raise too_much(f"'{path.name}' of Google Drive", most_bytes)

    try:
        gdown.download(
            id=identity,
            output=str(path),
            resume=True,
            retries=RETRIES,
            use_cookies=False,  # which would stay in a file of gdown's
            progress=check,
        )
    except UserError:
        for partial in path.parent.glob(f"{glob.escape(path.name)}*.part"):
            partial.unlink()
        raise
