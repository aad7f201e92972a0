"""Names of repositories on the Hugging Face Hub."""

import re


def is_repo(name: str) -> bool:
    """Whether a name may be a repository's.

    >>> is_repo("june/wavenet-june"), is_repo("runs/2026/last.ckpt"), is_repo("../june")
    (True, False, False)
    """
    part = r"[A-Za-z0-9](?:[\w.-]*\w)?"
    return (
        re.fullmatch(f"{part}/{part}", name, re.ASCII) is not None
        and len(name) <= 96
        and not re.search(r"--|\.\.|\.git$", name)
    )
