"""A process that decodes rows for another: ``python -m benchmark.data.preparation.decoding_process``.

From the process that started it, it reads a pickled :class:`~benchmark.data.preparation.decoding.Task` with its
:class:`~benchmark.data.preparation.decoding.Rows`, then ranges of rows. It answers each range with a
:class:`~benchmark.data.preparation.decoding.Chunk`, or with the ``UserError`` that stopped it, and ends when the
stream ends.
"""

import pickle

from benchmark.child_process import take_standard_streams
from benchmark.data.preparation.decoding import Decoder
from benchmark.errors import UserError


def main() -> None:
    """See the module."""
    requests, answers = take_standard_streams()
    try:
        decoder = Decoder(*pickle.load(requests), new=False)
        while True:
            rows = pickle.load(requests)
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
