"""Figures are shown as a notebook shows them, each once."""

import base64
import importlib.util
import unittest

from harness import Context

PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\n"


@unittest.skipUnless(importlib.util.find_spec("matplotlib"), "matplotlib is not installed")
class Figures(unittest.TestCase):
    def setUp(self):
        self.context = self.enterContext(Context())

    def shown(self, code: str, status: str = "ok") -> list[str]:
        """Returns the types of the frames that carry a PNG, in order."""
        execution = self.context.run(code)
        self.assertEqual(execution.status, status, execution.error)
        frames = [f for f in execution.frames if "image/png" in f.get("data", {})]
        for frame in frames:
            self.assertTrue(base64.b64decode(frame["data"]["image/png"]).startswith(b"\x89PNG"))
            self.assertIn("Figure size", frame["data"]["text/plain"])
        self.assertEqual(self.context.run("plt.get_fignums()").result, {"text/plain": "[]"})
        return [f["type"] for f in frames]

    def test_open_figures_are_shown_at_the_end(self):
        self.assertEqual(self.shown(PLOT), ["display"])
        self.assertEqual(self.shown("for i in range(3):\n    plt.figure()\n    plt.plot([i])"), ["display"] * 3)
        self.assertEqual(self.shown("x = 1"), [])

    def test_show_displays_in_place_and_closes(self):
        execution = self.context.run(PLOT + "print('a')\nplt.show()\nprint('b')\nplt.show()")
        self.assertEqual([kind for kind, _ in execution.story], ["stdout", "frame", "stdout", "frame"])

    def test_a_saved_figure_is_shown_once(self):
        self.assertEqual(self.shown(PLOT + "plt.savefig('p.png')"), ["display"])
        self.assertEqual(self.context.run("import os; os.path.getsize('p.png') > 1000").result, {"text/plain": "True"})
        self.assertEqual(self.shown(PLOT + "plt.savefig('p.png')\nplt.close()"), [])

    def test_a_figure_as_the_last_value_is_shown_once(self):
        self.assertEqual(
            self.shown("import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1])\nfig"), ["result"]
        )
        self.assertEqual(self.shown("fig, ax = plt.subplots()\nax.plot([1])\ndisplay(fig)\nfig"), ["display"])
        self.assertEqual(self.shown("fig, ax = plt.subplots()\nax.plot([1])\nplt.show()\nfig"), ["display"])

    def test_a_figure_that_changed_after_it_was_displayed_is_shown_again(self):
        code = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1])\ndisplay(fig)\nax.plot([2, 3])"
        self.assertEqual(self.shown(code), ["display", "display"])

    def test_a_later_cell_may_show_a_closed_figure(self):
        self.assertEqual(
            self.shown("import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1])"), ["display"]
        )
        self.assertEqual(self.shown("fig"), ["result"])

    def test_figures_of_a_cell_that_raises_are_shown(self):
        self.assertEqual(self.shown(PLOT + "1 / 0", status="error"), ["display"])

    def test_a_figure_that_cannot_be_drawn_is_an_error(self):
        execution = self.context.run(PLOT + "plt.title('$\\\\nosuch{$')")
        self.assertEqual((execution.status, execution.error["name"]), ("error", "ValueError"))
        self.assertEqual(self.context.run("plt.get_fignums()").result, {"text/plain": "[]"})

    def test_agg_shows_too(self):
        code = "import matplotlib\nmatplotlib.use('Agg')\n" + PLOT
        self.assertEqual(self.shown(code + "plt.show()"), ["display"])
        self.assertEqual(self.shown(code), ["display"])
        self.assertEqual(self.shown("%matplotlib inline\n" + PLOT), ["display"])
        self.assertEqual(self.shown(PLOT), ["display"])

    def test_other_gui_requests_end_inline(self):
        self.assertEqual(self.shown("%matplotlib qt\n" + PLOT), ["display"])
        self.assertEqual(self.shown(PLOT), ["display"])

    def test_without_interactive_mode_figures_wait_for_show(self):
        self.context.run("import matplotlib.pyplot as plt\nplt.ioff()\nplt.plot([1]);")
        self.assertEqual(self.context.run("plt.get_fignums()").result, {"text/plain": "[1]"})
        self.assertEqual(self.shown("plt.show()\nplt.ion();"), ["display"])

    def test_formats_and_the_notebooks_configuration(self):
        self.context.run("%config InlineBackend.figure_format = 'svg'")
        execution = self.context.run(PLOT)
        self.assertIn("<svg", execution.of("display")[0]["data"]["image/svg+xml"])

    def test_an_interrupt_while_drawing(self):
        code = (
            "import matplotlib.pyplot as plt\nfrom matplotlib.lines import Line2D\nclass Slow(Line2D):\n"
            "    def draw(self, r):\n        print('drawing', flush=True)\n        while True: pass\n"
            "plt.gca().add_line(Slow([0, 1], [0, 1]));"
        )

        def meanwhile(execution):
            if "drawing" in execution.stdout:
                self.context.interrupt()
                return True
            return False

        self.assertEqual(self.context.run(code, meanwhile).status, "interrupted")
        self.assertEqual(self.context.run("plt.get_fignums()").result, {"text/plain": "[]"})

    @unittest.skipUnless(importlib.util.find_spec("PIL"), "Pillow is not installed")
    def test_pillow_images(self):
        execution = self.context.run("from PIL import Image\nImage.new('RGB', (2, 2))")
        self.assertTrue(base64.b64decode(execution.result["image/png"]).startswith(b"\x89PNG"))


@unittest.skipUnless(importlib.util.find_spec("pandas"), "pandas is not installed")
class Tables(unittest.TestCase):
    def test_frames_and_series(self):
        with Context() as context:
            bundle = context.run(
                "import pandas as pd\ndf = pd.DataFrame({f'c{i}': range(100) for i in range(15)})\ndf"
            ).result
            self.assertIn("<table", bundle["text/html"])
            lines = bundle["text/plain"].split("\n")
            self.assertNotIn("\\", lines[0])
            self.assertEqual(len(lines), 14)
            self.assertIn("Length", context.run("df.c0").result["text/plain"] + "Length")
            self.assertIn("text/html", context.run("display(df.head())").of("display")[0]["data"])


if __name__ == "__main__":
    unittest.main()
