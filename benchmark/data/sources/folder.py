"""Images in class folders, on disk or in a ``.zip``: ``Training/<class>/*`` with ``Testing/<class>/*``, or alone."""

from functools import cached_property

from benchmark.data.sources import cheng_numbers
from benchmark.data.sources.base import Item, Loaded
from benchmark.data.sources.cheng_numbers import Recognised, recognise_cheng
from benchmark.data.sources.dicom_headers import with_headers
from benchmark.data.sources.files import content_hash, decode_file
from benchmark.data.sources.kaggle_releases import Release, recognise
from benchmark.data.sources.layout import Layout, read_layout
from benchmark.data.sources.medical import require_libraries
from benchmark.data.sources.tree import FileTree


class FolderSource:
    """Images whose folders say all but the pixels.

    Args:
        tree: the files.

    Raises:
        UserError: on use, when the files can't be read, or are no usable images in class folders.
    """

    synthetic = False

    def __init__(self, tree: FileTree) -> None:
        self.tree = tree

    @cached_property
    def _layout(self) -> Layout:
        layout = read_layout(self.tree.files, self.tree.empty_folders, str(self.tree.root))
        require_libraries(layout.paths)
        return layout

    @cached_property
    def _release(self) -> Release | None:
        return recognise(self._layout.items)

    @cached_property
    def _cheng(self) -> Recognised | None:
        return recognise_cheng(self._layout.items)

    @property
    def name(self) -> str:
        """The file's or folder's; notes tell which known release it is."""
        return self.tree.name

    @cached_property
    def _items_and_notes(self) -> tuple[tuple[Item, ...], tuple[str, ...]]:
        items = self._cheng.items if self._cheng else self._layout.items
        return with_headers(items, self._layout.paths, self.tree.read)

    @property
    def items(self) -> tuple[Item, ...]:
        """The images, sorted by path."""
        return self._items_and_notes[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Tidied, sorted."""
        return tuple(sorted({item.class_name for item in self._cheng.items})) if self._cheng else (
            self._layout.class_names
        )  # fmt: skip

    @property
    def negative_class(self) -> str | None:
        """``notumor`` where there is such a folder, under any of its usual names."""
        return self._layout.negative_class

    @property
    def lettered_patients(self) -> bool:
        """Whether they are Cheng's."""
        return self._cheng is not None

    @property
    def random_parts(self) -> bool:
        """Whether the parts are somebody's random split: Cheng's set has no official one."""
        return self._cheng is not None

    @property
    def licence(self) -> str:
        """Of the set that was recognised."""
        return cheng_numbers.LICENCE if self._cheng else ""

    @property
    def citation(self) -> str:
        """Of the set or release that was recognised."""
        if self._cheng:
            return cheng_numbers.CITATION
        return self._release.citation if self._release else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Which release this is, what was ignored or merged."""
        recognised = (self._cheng.note,) if self._cheng else self._release.notes if self._release else ()
        return (*recognised, *self._layout.notes, *self._items_and_notes[1])

    def signature(self) -> str:
        """Return a hash over the files; see :meth:`FileTree.signature`."""
        return self.tree.signature()

    def load(self, index: int) -> Loaded:
        """Read and decode one image; raises ``UserError`` naming the file."""
        path = self._layout.paths[index]
        data = self.tree.read(path)
        return Loaded(decode_file(data, self.tree.shown(path)), content_hash(data))
