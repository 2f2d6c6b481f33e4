"""Limits the fields of an upload other than its files: Gradio streams those to disk, and keeps all else in memory."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from modules.api.security.json_body import BodyTooLarge

MAX_FIELD_BYTES = 64 * 2**10  # the page sends no fields


class UploadFields:
    """Reads a form as it arrives and counts the bytes of its fields that are no files.

    Args:
        content_type: The header, with the boundary of the form's parts.
        max_bytes: Limit of all fields together.
    """

    def __init__(self, content_type: str, max_bytes: int = MAX_FIELD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._field_bytes = 0
        self._is_file = False
        self._header = [b"", b""]  # name and value of the one that is being read
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        self._parser: MultipartParser | None = None  # Gradio refuses what is no form
        if boundary:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._read_header(
                        0, data[start:end]
                    ),
                    "on_header_value": lambda data, start, end: self._read_header(
                        1, data[start:end]
                    ),
                    "on_header_end": self._end_header,
                    "on_part_data": lambda _, start, end: self._count(end - start),
                },
            )

    def feed(self, data: bytes) -> None:
        """Read the next part of the body.

        Raises:
            BodyTooLarge: the fields are larger than the limit.
        """
        if self._parser is None:
            return
        try:
            self._parser.write(data)
        except FormParserError:  # Gradio refuses it
            self._parser = None

    def _begin_part(self) -> None:
        self._is_file = False
        self._header = [b"", b""]

    def _read_header(self, index: int, data: bytes) -> None:
        self._header[index] += data

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._is_file = b"filename" in parse_options_header(value)[1]
        self._header = [b"", b""]

    def _count(self, byte_count: int) -> None:
        if self._is_file:
            return
        self._field_bytes += byte_count
        if self._field_bytes > self._max_bytes:
            raise BodyTooLarge(
                f"The upload has more than {self._max_bytes} bytes that belong to no file.",
                "Send each file with its name.",
            )
