"""Images in class folders, on disk or in a ``.zip``: ``Training/<class>/*`` with ``Testing/<class>/*``, or alone."""

from dataclasses import replace
from functools import cached_property

from benchmark.data.sources import cheng_numbers
from benchmark.data.sources.base import Item, Loaded, SourceFacts
from benchmark.data.sources.cheng_numbers import Recognised, recognise_cheng
from benchmark.data.sources.dicom_headers import with_headers
from benchmark.data.sources.files import content_hash, decode_file
from benchmark.data.sources.kaggle_releases import recognise
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

    def __init__(self, tree: FileTree) -> None:
        self.tree = tree

    @cached_property
    def _layout(self) -> Layout:
        layout = read_layout(self.tree.files, self.tree.empty_folders, str(self.tree.root))
        require_libraries(layout.paths)
        return layout

    @cached_property
    def _cheng(self) -> Recognised | None:
        return recognise_cheng(self._layout.items)

    @cached_property
    def _items_and_notes(self) -> tuple[tuple[Item, ...], tuple[str, ...]]:
        items = self._cheng.items if self._cheng else self._layout.items
        return with_headers(items, self._layout.paths, self.tree.read)

    @property
    def items(self) -> tuple[Item, ...]:
        """The images, sorted by path."""
        return self._items_and_notes[0]

    @cached_property
    def facts(self) -> SourceFacts:
        """Named as the file or folder; notes tell which known set or release it is, what was ignored or merged."""
        layout, notes = self._layout, (*self._layout.notes, *self._items_and_notes[1])
        if self._cheng:  # any parts are somebody's random split: the set has no official one
            return SourceFacts(
                self.tree.name,
                tuple(sorted({item.class_name for item in self._cheng.items})),
                layout.negative_class,
                lettered_patients=True,
                random_parts=True,
                licence=cheng_numbers.LICENCE,
                citation=cheng_numbers.CITATION,
                notes=(self._cheng.note, *notes),
            )
        facts = SourceFacts(self.tree.name, layout.class_names, layout.negative_class, notes=notes)
        release = recognise(layout.items)
        return replace(facts, citation=release.citation, notes=(*release.notes, *notes)) if release else facts

    def signature(self) -> str:
        """Return a hash over the files; see :meth:`FileTree.signature`."""
        return self.tree.signature()

    def load(self, index: int) -> Loaded:
        """Read and decode one image; raises ``UserError`` naming the file."""
        path = self._layout.paths[index]
        data = self.tree.read(path)
        return Loaded(decode_file(data, self.tree.shown(path)), content_hash(data))
