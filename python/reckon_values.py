"""What leaves a context: frames, and MIME bundles made safe to travel in them.

A frame is four bytes of length (little-endian) and one JSON object in UTF-8.
Nothing here knows IPython or sockets.
"""

from __future__ import annotations

import base64
import codecs
import json
import math
import struct

#: A single MIME value may be this large; a larger one is replaced by a remark in text/plain.
VALUE_LIMIT = 8 * 1024 * 1024
#: A frame as a whole may be this large, so that the host can bound what it reads.
FRAME_LIMIT = 12 * 1024 * 1024
#: How much of a too long text/plain stays readable.
EXCERPT = 64 * 1024
#: serde_json refuses to read deeper than 128; the frame around a value takes a few levels.
DEPTH_LIMIT = 100

_BINARY = ("image/", "audio/", "video/")
_TEXT_IMAGES = ("image/svg+xml",)
_OTHER_TEXT = ("application/javascript", "application/xml", "image/svg+xml")

_HEAD = struct.Struct("<I")


def _spell_surrogates(error: UnicodeError) -> tuple[str, int]:
    """Spells characters that UTF-8 has no bytes for as the text `\\udc80` (inside JSON: `\\\\udc80`)."""
    bad = error.object[error.start : error.end]
    return "".join(f"\\\\u{ord(char):04x}" for char in bad), error.end


codecs.register_error("reckon_json", _spell_surrogates)

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(frame: dict) -> bytes:
    """Returns the bytes of `frame` on the wire."""
    text = _encoder.encode(frame)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        body = text.encode("utf-8", "reckon_json")
    return _HEAD.pack(len(body)) + body


def encode_bundle(frame: dict) -> bytes:
    """Returns the bytes of a frame that carries `data`; the largest values go until it fits `FRAME_LIMIT`."""
    while True:
        wire = encode(frame)
        if len(wire) <= FRAME_LIMIT:
            return wire
        data = frame["data"]
        largest = max(data, key=lambda mime: _weight(data[mime]), default=None)
        if largest is None or _weight(data[largest]) < 1024:
            # Thousands of small values or huge metadata: keep the words only.
            frame["metadata"] = {}
            frame["data"] = {"text/plain": cut_middle(str(data.get("text/plain", "")), EXCERPT)}
            return encode(frame)
        _leave_out(data, largest, _weight(data[largest]))


def decode_length(head: bytes) -> int:
    """Returns the length of the body that follows the four bytes `head`."""
    return _HEAD.unpack(head)[0]


def cut_middle(text: str, limit: int) -> str:
    """Returns `text`, or its beginning and end with a remark between when it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def bundle(data: object, metadata: object) -> tuple[dict, dict]:
    """Returns `data` (MIME type to value) and its metadata as JSON can carry them, none larger than `VALUE_LIMIT`."""
    source = dict(data) if isinstance(data, dict) else {"text/plain": str(data)}
    safe: dict[str, object] = {}
    too_large = []
    for mime, value in source.items():
        mime = str(mime)
        try:
            value = _value(mime, value)
        except (TypeError, ValueError, RecursionError, OverflowError):
            continue  # A value that JSON cannot say; text/plain stays.
        size = _weight(value)
        if size > VALUE_LIMIT:
            too_large.append((mime, size))
        safe[mime] = value
    for mime, size in too_large:
        _leave_out(safe, mime, size)
    return safe, _metadata(metadata)


def _metadata(metadata: object) -> dict:
    if not metadata:
        return {}
    try:
        safe = json_value(metadata)
    except (TypeError, ValueError, RecursionError, OverflowError):
        return {}
    return safe if isinstance(safe, dict) else {}


def _value(mime: str, value: object) -> object:
    if isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
        if _is_text(mime):
            return raw.decode("utf-8", "replace")
        return base64.b64encode(raw).decode("ascii")
    if _is_json(mime):
        return json_value(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (dict, list, tuple)):
        return json_value(value)
    return str(value)


def _is_json(mime: str) -> bool:
    return mime == "application/json" or mime.endswith("+json")


def _is_text(mime: str) -> bool:
    return mime.startswith("text/") or mime in _OTHER_TEXT or mime.endswith("+xml") or _is_json(mime)


def json_value(value: object, depth: int = 0) -> object:
    """Returns `value` as strict JSON: no NaN, string keys, numbers that a 64-bit reader holds.

    Raises ValueError where it is circular or deeper than `DEPTH_LIMIT`.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return _integer(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if depth > DEPTH_LIMIT:
        raise ValueError("circular or too deep")
    if isinstance(value, dict):
        return {_key(key): json_value(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [json_value(item, depth + 1) for item in value]
    return _foreign(value, depth)


def _foreign(value: object, depth: int) -> object:
    """Returns what stands for a value that is none of JSON's own types (subclasses, NumPy, dates, bytes)."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, float):
        return json_value(float(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    to_list = getattr(value, "tolist", None)
    if callable(to_list):
        return json_value(to_list(), depth + 1)
    return str(value)


def _integer(value: int) -> object:
    if -(2**63) <= value < 2**64:
        return value
    try:
        return float(value)
    except OverflowError:
        return hex(value)


def _key(key: object) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    if key is True:
        return "true"
    if key is False:
        return "false"
    if key is None:
        return "null"
    return str(key)


def _weight(value: object) -> int:
    """Returns the bytes that `value` takes in a frame, before JSON's escapes."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    try:
        return len(_encoder.encode(value))
    except (TypeError, ValueError):
        return VALUE_LIMIT + 1


def _leave_out(data: dict, mime: str, size: int) -> None:
    """Replaces the value of `mime` by a remark in text/plain; of text/plain itself an excerpt stays."""
    remark = f"[{mime} left out: {size / 1048576:.1f} MiB is more than a value may have]"
    if mime == "text/plain":
        data[mime] = cut_middle(data[mime], EXCERPT)
        if _weight(data[mime]) > 4 * EXCERPT:
            data[mime] = ""
    else:
        del data[mime]
    plain = data.get("text/plain")
    data["text/plain"] = f"{plain}\n{remark}" if plain else remark
