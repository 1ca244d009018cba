"""A process that decodes rows for another: ``python -m benchmark.data.preparation.decoding_process``.

From the process that started it, it reads a pickled :class:`~benchmark.data.preparation.decoding.Task` with its
:class:`~benchmark.data.preparation.decoding.Rows`, then ranges of rows. It answers each range with a
:class:`~benchmark.data.preparation.decoding.Chunk`, or with the ``UserError`` that stopped it, and ends when the
stream ends.
"""

import os
import pickle
import sys

from benchmark.data.preparation.decoding import Decoder
from benchmark.errors import UserError


def main() -> None:
    """See the module."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    words = sys.stdin.buffer
    try:
        decoder = Decoder(*pickle.load(words), new=False)
        while True:
            rows = pickle.load(words)
            try:
                answer: object = decoder.chunk(rows)
            except UserError as error:
                answer = error
            pickle.dump(answer, answers)
            answers.flush()
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main()
