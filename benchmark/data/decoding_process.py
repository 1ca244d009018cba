"""A process that decodes rows for another: ``python -m benchmark.data.decoding_process``.

It reads a pickled :class:`~benchmark.data.decoding.Task` with its :class:`~benchmark.data.decoding.Rows`, from the
process that started it, then ranges of rows, and answers each with a :class:`~benchmark.data.decoding.Chunk` or the
``UserError`` that stopped it. It ends with the stream.
"""

import os
import pickle
import sys

from benchmark.data.decoding import Decoder
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
