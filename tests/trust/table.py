"""The table of docs/trust.md, between its markers."""

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "trust.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
CODE = (".py", ".sh", ".sbatch", ".yaml", ".toml", ".html", ".js")
# What each row is, and what was asked of it.
ASKED = {
    "t01": ("damaged photographs", "10,000 of 14 formats: one sentence, < 300 MB, < 1 s each"),
    "t02": ("decompression bombs", "12: refused before decoding, < 100 MB"),
    "t03": ("training killed", "50 kills: the same bytes in the end"),
    "t04": ("training asked to stop", "20 SIGTERM: the step that runs is saved, exit code 75"),
    "t05": ("damaged checkpoints", "every file x 24 damages: none silent"),
    "t06": ("full disks", "5 places x 2: nothing half, goes on when there is room"),
    "t07": ("a lost process of two", "3 kinds x 5: the other ends in 15 s, same bytes after"),
    "t08": ("data position", "1,000 positions, 1/2/4 hosts: none twice, none lost"),
    "t09": ("steps without numbers", "4 kinds x 10: skipped, nothing changed; ends after N"),
    "t10": ("leaves of a checkpoint", "all leaves: saved, and each one's change is seen"),
    "t11": ("accumulation and meshes", "k = 2, 4; 1/2/4 devices: < 1e-5"),
    "t12": ("same picture, same bytes", "100 pictures x 3 orders"),
    "t13": ("formats", "60 kinds: sizes, orientation, profiles, lightness"),
    "t14": ("prompts", "5,000: one sentence or none, lost words told"),
    "t15": ("archives", "30: nothing outside, limits hold"),
    "t16": ("pickles", "20: no canary"),
    "t17": ("exported files", "1,000 flipped bits: refused, no crash"),
    "t18": ("requests", "300: 4xx, memory bounded, folder empty, p99 bounded"),
    "t19": ("batches killed", "1,000 photographs, 50 damaged, 20 kills"),
    "t20": ("old formats and typos", "20: the nearest key, a clear sentence"),
    "t21": ("refusals of the system", "8: the path is named"),
    "t22": ("memory of a service", "2,000 requests: < 5 % drift after 200"),
    "t23": ("compilations", "50 sizes x 3 tails: as many as there are programs"),
    "t24": ("downloads", "24 faults: resumed or refused, nothing half"),
}


def write(kept: dict[str, Any]) -> None:
    """Writes the rows that were measured into the page."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{_table(kept)}{END}{after}")


def _table(kept: dict[str, Any]) -> str:
    lines = ["| | row | asked | seen | tests | s | on |", "|---|---|---|---|---|---|---|"]
    for name, (title, asked) in ASKED.items():
        row = kept.get(name)
        lines.append(f"| {name.upper()} | {title} | {asked} | {_seen(row)} |")
    return "\n".join(lines) + "\n"


def _seen(row: dict[str, Any] | None) -> str:
    if row is None:
        return "**not run** | | |"
    parts = [] if row["passed"] else ["**failed**"]
    parts += ["**not the full count**"] if row.get("short") else []
    parts += [_plain(figure) for figure in row["figures"]]
    parts += [f"**skipped**: {_plain(reason)}" for reason in row["skipped"]]
    outcomes = row["outcomes"]
    tests = f"{outcomes.get('passed', 0)} passed" + (
        f", {outcomes['failed']} failed" if outcomes.get("failed") else ""
    )
    return f"{'; '.join(parts)} | {tests} | {row['seconds']} | {row['date']}, {row['code'][:7]}"


def _plain(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
