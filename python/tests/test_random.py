"""What every context has anew: the states that the entering code fills, and what is seeded by calls."""

import ctypes
import multiprocessing
import os
import random
import tempfile
import unittest
import uuid

import harness
import reckon_random


def told(work):
    """Returns what `work` says in a forked child."""
    reader, writer = os.pipe()
    pid = harness._clone()  # Without the hooks of `os.fork`, as the zygote does it.
    if pid == 0:
        try:
            os.write(writer, repr(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text.decode()


def all_of_it():
    """Returns something of each: what siblings would share."""
    values = {"random": random.random(), "authkey": bytes(multiprocessing.current_process().authkey)}
    try:
        import numpy
    except ImportError:
        pass
    else:
        values["numpy"] = float(numpy.random.random())
    return values


class States(unittest.TestCase):
    def test_every_state_is_found_and_filling_it_makes_siblings_differ(self):
        states = reckon_random.states()
        self.assertEqual(len(states), len(all_of_it()), states)

        def filled():
            for address, length in states:
                ctypes.memmove(address, os.urandom(length), length)
            return all_of_it()

        self.assertEqual(told(all_of_it), told(all_of_it), "without it they share everything")
        one, other = eval(told(filled)), eval(told(filled))  # noqa: S307 - our own words
        for name in one:
            self.assertNotEqual(one[name], other[name], name)

    def test_filled_states_still_make_good_numbers(self):
        states = reckon_random.states()
        for address, length in states:
            ctypes.memmove(address, os.urandom(length), length)
        numbers = [random.random() for _ in range(20_000)]
        self.assertTrue(all(0 <= number < 1 for number in numbers))
        self.assertAlmostEqual(sum(numbers) / len(numbers), 0.5, delta=0.05)
        self.assertEqual(len(set(numbers)), len(numbers))

    def test_names_and_nodes_are_made_in_the_child(self):
        tempfile._get_candidate_names()
        uuid.uuid1()
        reckon_random.states()

        def names():
            return [next(tempfile._get_candidate_names()) for _ in range(3)]

        self.assertNotEqual(told(names), told(names))
        self.assertNotEqual(told(lambda: str(uuid.uuid4())), told(lambda: str(uuid.uuid4())))


if __name__ == "__main__":
    unittest.main()
