"""Files with which a stranger's run attacks the programs that read it."""

from __future__ import annotations

import os

SECRET = "the-secret-of-another-file"

YAML = {
    "aliases": "a: &a [x, x]\n"
    + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)),
    "deep yaml": "a: " + "[" * 5_000 + "]" * 5_000,
    "a long number": "a: " + "9" * 5_000,
    "a long hexadecimal number": "a: 0x" + "f" * 20_000,
    "a long text": "a: '" + "x" * (1 << 18) + "'",
    "python": "a: !!python/object/apply:os.system ['touch it_ran']",
    "a date as a key": "a: [{2020-01-01: 1}]",
}
JSON = {
    "deep json": "[" * 100_000,
    "deep and complete json": '{"starts": ' + "[" * 900 + "]" * 900 + "}",
    "a step of 5,000 digits": '{"step": ' + "9" * 5_000 + "}",
    "a step of 4,000 digits": '{"step": ' + "9" * 4_000 + "}",
    "half a character": '{"starts": [{"status": "\\ud800", "started": "\\u001b[2J"}]}',
    "a long text": '{"starts": "' + "x" * (1 << 22) + '"}',
}
CSV = {
    "a step of 5,000 digits": "step,val_loss,seconds\n" + "9" * 5_000 + ",1,1\n",
    "a score of 400 digits": "step,val_loss,seconds\n1," + "9" * 400 + ",1e999\n2,1,nan\n",
    "a cell of 200,000 letters": "step,val_loss,seconds\n1," + "x" * 200_000 + ",1\n",
    "many columns": "step," + ",".join(f"val_{n}" for n in range(5_000)) + "\n1," + ",".join("1" * 5_000) + "\n",
    "nothing": "",
}
TEXTS = {
    "config.yaml": YAML,
    "run.json": JSON,
    "metrics.csv": CSV,
    "checkpoints/last/state.json": JSON,
}
KINDS = ("fifo", "link", "link to a device", "folder", "40 GB")
ATTACKS = [(name, attack) for name, texts in TEXTS.items() for attack in (*texts, *KINDS)]


def attack(run, name, kind):
    """Puts a hostile file into a run, whose folder's parent gets a file with a secret."""
    path = run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    secret = run.parent / "secret"
    secret.write_text(f'{{"starts": [{{"status": "{SECRET}", "command": "{SECRET}"}}], "status": "{SECRET}"}}')
    if kind in TEXTS[name]:
        path.write_text(TEXTS[name][kind])
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(secret)
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "40 GB":
        with path.open("wb") as file:
            file.truncate(40 << 30)
