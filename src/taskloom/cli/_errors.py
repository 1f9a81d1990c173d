"""Turn errors into one paragraph on the error stream and an exit code.

0 is success, 2 is bad input or a place that cannot be written to, 130 is an interruption by the keyboard, and 1 is
a mistake in the library itself. A traceback appears only with ``--debug``.
"""

from __future__ import annotations

import errno
import functools
import re
import sys
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import typer

from taskloom.errors import TaskloomError

__all__ = ["BAD_INPUT", "INTERNAL", "INTERRUPTED", "friendly", "is_disk_full", "one_paragraph", "reason"]

BAD_INPUT = 2
INTERNAL = 1
INTERRUPTED = 130

_DISK_FULL_CODES = {errno.ENOSPC, errno.EDQUOT}
# Libraries below Python (SQLite, Arrow, safetensors) report a full disk only in words.
_DISK_FULL_WORDS = ("no space left on device", "database or disk is full", "disk quota exceeded", "os error 28")

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def friendly(*, can_continue: bool = False) -> Callable[[Callable[Arguments, Answer]], Callable[Arguments, Answer]]:
    """Wrap a command so that every error ends in one paragraph and an exit code.

    The wrapped command may have a parameter ``debug``; when it is true, errors pass through with their traceback.

    Args:
        can_continue: True if running the same command again continues where an interruption stopped it.

    Returns:
        a decorator that keeps the signature of the command, from which the options are made.

    Example:
        >>> @friendly()
        ... def command(debug: bool = False) -> None:
        ...     raise TaskloomError("found 1, expected 2; give 2")
        >>> command()
        Traceback (most recent call last):
        typer.exceptions.Exit: 2
    """

    def decorate(command: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
        @functools.wraps(command)
        def wrapped(*arguments: Arguments.args, **options: Arguments.kwargs) -> Answer:
            is_debug = bool(options.get("debug", False))
            try:
                return command(*arguments, **options)
            except KeyboardInterrupt:
                _say("stopped; run the same command to continue" if can_continue else "stopped")
                raise typer.Exit(INTERRUPTED) from None
            except (typer.Exit, typer.Abort):
                raise
            except BrokenPipeError:
                raise  # the reader of our output has left: nobody is there to be told
            except Exception as error:
                if is_debug:
                    raise
                code, message = _explain(error)
                _say(f"error: {message}")
                raise typer.Exit(code) from None

        return wrapped

    return decorate


def is_disk_full(error: BaseException) -> bool:
    """True if an error, or one that caused it, says that a disk is full.

    Example:
        >>> is_disk_full(OSError(errno.ENOSPC, "No space left on device")), is_disk_full(OSError("other"))
        (True, False)
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _DISK_FULL_CODES:
            return True
        if any(words in str(cause).casefold() for words in _DISK_FULL_WORDS):
            return True
    return False


def one_paragraph(message: str) -> str:
    """Join the lines of a message by spaces.

    Example:
        >>> one_paragraph(" found this" + chr(10) + "  expected that ")
        'found this expected that'
    """
    return re.sub(r"\s*[\r\n]\s*", " ", message.strip())


def reason(error: BaseException) -> str:
    """The reason an operating-system error gives, in lower case and without its number and path.

    Example:
        >>> reason(PermissionError(errno.EACCES, "Permission denied", "/data"))
        'permission denied'
    """
    text = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return one_paragraph(text[:1].lower() + text[1:]) or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it came from, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _explain(error: Exception) -> tuple[int, str]:
    if isinstance(error, TaskloomError):
        return BAD_INPUT, str(error)
    if is_disk_full(error):
        return BAD_INPUT, f"the disk is full ({reason(error)}); free some space and run the same command again"
    if isinstance(error, OSError):
        place = f" {str(error.filename)!r}" if error.filename else ""
        return BAD_INPUT, f"cannot use{place}: {reason(error)}; check the path and its permissions"
    if isinstance(error, MemoryError):
        return BAD_INPUT, "out of memory; use a smaller table, fewer --workers, or a machine with more memory"
    return INTERNAL, (
        f"something went wrong inside taskloom ({type(error).__name__}: {error}); this is not your mistake: "
        "run the command again with --debug and report the traceback"
    )


def _say(message: str) -> None:
    print(one_paragraph(message), file=sys.stderr)
