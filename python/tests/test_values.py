"""What travels in frames: every value as strict JSON of bounded size."""

import json
import math
import unittest

import harness  # noqa: F401 - puts the driver on the path

import reckon_values as values


def read(wire: bytes) -> dict:
    length = values.decode_length(wire[:4])
    assert length == len(wire) - 4
    return json.loads(wire[4:].decode("utf-8"))


class Bundles(unittest.TestCase):
    def test_text_stays_text_and_bytes_become_base64(self):
        data, _ = values.bundle({"text/plain": "a", "image/png": b"\x89PNG", "image/jpeg": "YWJj"}, {})
        self.assertEqual(data, {"text/plain": "a", "image/png": "iVBORw==", "image/jpeg": "YWJj"})

    def test_bytes_of_a_text_type_are_decoded(self):
        data, _ = values.bundle({"text/html": "<b>é</b>".encode(), "image/svg+xml": b"<svg/>"}, {})
        self.assertEqual(data, {"text/html": "<b>é</b>", "image/svg+xml": "<svg/>"})

    def test_json_is_made_strict(self):
        source = {2: float("nan"), None: [float("inf"), -math.inf, 1.5], True: (1, {2}), "n": 10**400, "m": 2**70}
        data, _ = values.bundle({"application/json": source}, None)
        expected = {"2": None, "null": [None, None, 1.5], "true": [1, [2]], "n": hex(10**400), "m": float(2**70)}
        self.assertEqual(data["application/json"], expected)

    def test_foreign_numbers_are_understood(self):
        class Array:
            def tolist(self):
                return [1, float("nan")]

        data, _ = values.bundle({"application/vnd.x+json": {"a": Array(), "b": b"\x00"}}, {})
        self.assertEqual(data["application/vnd.x+json"], {"a": [1, None], "b": "AA=="})

    def test_a_circular_value_goes_and_the_text_stays(self):
        circular: dict = {}
        circular["self"] = circular
        data, metadata = values.bundle({"text/plain": "loop", "application/json": circular}, {"a": circular})
        self.assertEqual((data, metadata), ({"text/plain": "loop"}, {}))

    def test_a_too_deep_value_goes(self):
        deep: list = []
        for _ in range(100_000):
            deep = [deep]
        data, _ = values.bundle({"text/plain": "deep", "application/json": deep}, {})
        self.assertEqual(data, {"text/plain": "deep"})

    def test_a_value_of_the_wrong_type_becomes_text(self):
        data, _ = values.bundle({"text/plain": 5, "text/html": None}, {"m": float("nan")})
        self.assertEqual(data, {"text/plain": "5", "text/html": "None"})

    def test_a_too_large_value_is_replaced_by_a_remark(self):
        data, _ = values.bundle({"text/plain": "picture", "image/png": b"x" * (7 * 1024 * 1024)}, {})
        self.assertEqual(data, {"text/plain": "picture\n[image/png left out: 9.3 MiB is more than a value may have]"})

    def test_of_a_too_large_text_both_ends_stay(self):
        data, _ = values.bundle({"text/plain": "a" + "b" * values.VALUE_LIMIT + "c"}, {})
        text = data["text/plain"]
        self.assertTrue(text.startswith("ab"))
        self.assertIn("characters left out", text)
        self.assertIn("8.0 MiB", text)
        self.assertLess(len(text), 2 * values.EXCERPT)


class Frames(unittest.TestCase):
    def test_lone_surrogates_are_spelled_out(self):
        frame = {"type": "result", "data": {"text/plain": "a\udc80\ud83dz"}}
        self.assertEqual(read(values.encode(frame))["data"]["text/plain"], "a\\udc80\\ud83dz")

    def test_other_text_is_untouched(self):
        text = 'é漢🎉\x00\x1b\u2028"\\'
        self.assertEqual(read(values.encode({"t": text}))["t"], text)

    def test_nan_never_travels(self):
        with self.assertRaises(ValueError):
            values.encode({"x": float("nan")})

    def test_a_frame_has_a_largest_size(self):
        big = "x" * (6 * 1024 * 1024)
        frame = {"data": {"text/plain": "kept", "a/1": big, "a/2": big, "a/3": big}, "metadata": {}}
        wire = values.encode_bundle(frame)
        self.assertLessEqual(len(wire), values.FRAME_LIMIT)
        data = read(wire)["data"]
        self.assertEqual(sorted(data), ["a/3", "text/plain"])
        self.assertTrue(data["text/plain"].startswith("kept\n[a/1 left out"))

    def test_escapes_count_against_the_size_too(self):
        frame = {"data": {"text/plain": "\x00" * (4 * 1024 * 1024)}, "metadata": {}}
        self.assertLessEqual(len(values.encode_bundle(frame)), values.FRAME_LIMIT)

    def test_huge_metadata_and_thousands_of_values_fit(self):
        frame = {"data": {f"a/{i}": "x" * 900 for i in range(20_000)}, "metadata": {"m": "y" * 20_000_000}}
        self.assertLessEqual(len(values.encode_bundle(frame)), values.FRAME_LIMIT)

    def test_cut_middle(self):
        self.assertEqual(values.cut_middle("short", 10), "short")
        self.assertEqual(values.cut_middle("a" * 10 + "b" * 10, 4), "aa\n[... 16 characters left out ...]\nbb")


if __name__ == "__main__":
    unittest.main()
