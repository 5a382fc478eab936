"""Text that arrives in pieces: what is certain is passed on, what may yet be a mark is held back."""

from __future__ import annotations

from collections.abc import Iterable


def held_back(text: str, marks: Iterable[str]) -> int:
    """Length of the longest end of `text` that begins one of `marks` without being all of it."""
    longest = 0
    for mark in marks:
        for length in range(min(len(text), len(mark) - 1), longest, -1):
            if mark.startswith(text[-length:]):
                longest = length
                break
    return longest


class StopFilter:
    """Passes text on up to the first stop string; ends that may become one are held back."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(dict.fromkeys(stop for stop in stops if stop))
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """Text that is certainly before any stop."""
        self._held += text
        certain = len(self._held) - held_back(self._held, self._stops)
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        # A longer stop may have begun before the one found and still be arriving: the earliest wins, so wait.
        if found and min(found) <= certain:
            text, self._held, self.stopped = self._held[: min(found)], "", True
            return text
        text, self._held = self._held[:certain], self._held[certain:]
        return text

    def finish(self) -> str:
        """The text ends: what was held back is no stop, unless a shorter stop stands in it."""
        text, self._held = self._held, ""
        places = [text.find(stop) for stop in self._stops]
        found = [place for place in places if place >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        return text


class Held:
    """Text not yet passed on."""

    def __init__(self) -> None:
        self.text = ""

    def take_all(self) -> str:
        """Everything."""
        text, self.text = self.text, ""
        return text

    def until(self, *marks: str) -> tuple[bool, str]:
        """(whether a mark was found, the text before it); an end that may become a mark stays held."""
        found = [(place, -len(mark), mark) for mark in marks if (place := self.text.find(mark)) >= 0]
        if found:
            place, _, mark = min(found)
            before, self.text = self.text[:place], self.text[place + len(mark) :]
            return True, before
        keep = held_back(self.text, marks)
        cut = len(self.text) - keep
        before, self.text = self.text[:cut], self.text[cut:]
        return False, before
