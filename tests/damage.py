"""What may befall the files of a checkpoint."""


def data_file(store, step):
    """The file of a step with the most array data: random arrays are its largest under ``d/``."""
    found = (path for path in (store / "steps" / str(step)).rglob("*") if path.parent.name == "d")
    return max(found, key=lambda path: path.stat().st_size)


def flip(path, rng):
    """Flip one bit, drawn uniformly."""
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def cut(path, how):
    """Delete a file, or cut it to half."""
    if how == "delete":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
