"""The cases of broker/src/kafka/believe.rs, and its property, for the rule in Python."""

import random
import unittest

import believe
from believe import Belief

LETTERS = {
    believe.BELIEVED: "o",
    believe.BARRIER: "B",
    believe.FOREIGN: "f",
    believe.NOT_THE_OWNER: "x",
    believe.DOUBLED: "d",
    believe.AFTER_GAP: "g",
}


def barrier(epoch, take, incarnation):
    return f"barrier {epoch} {take:016x} {incarnation} node"


def outcome(epoch, take, number):
    return f"outcome {epoch} {take:016x} {number}"


def headers(mark):
    return [("other", b"barrier 9 1 a b"), (believe.HEADER, mark.encode())]


class Cases(unittest.TestCase):
    def check(self, marks, expected):
        belief = Belief()
        found = "".join(LETTERS[belief.judge(headers(mark))] for mark in marks)
        self.assertEqual(found, expected)

    def test_a_zombie_is_never_believed(self):
        a, b = barrier(1, 10, "a"), barrier(2, 20, "b")
        self.check([a, outcome(1, 10, 0), b, outcome(1, 10, 1), outcome(2, 20, 0)], "BoBxo")
        self.check([outcome(1, 10, 0), a, outcome(1, 10, 0)], "xBo")
        self.check([barrier(2, 20, "b"), a, outcome(1, 10, 0), outcome(2, 20, 0)], "Bxxo")

    def test_an_epoch_belongs_to_one_incarnation_which_may_take_it_again(self):
        first, again = barrier(1, 10, "a"), barrier(1, 11, "a")
        self.check(
            [first, outcome(1, 10, 0), again, outcome(1, 10, 1), outcome(1, 11, 0)], "BoBxo"
        )
        self.check([first, barrier(1, 12, "b"), outcome(1, 12, 0), outcome(1, 10, 0)], "Bxxo")

    def test_a_gap_takes_along_what_comes_after_it_and_doubles_count_once(self):
        marks = [barrier(1, 1, "a"), outcome(1, 1, 0), outcome(1, 1, 0), outcome(1, 1, 2)]
        self.check(marks, "Bodg")
        late = [outcome(1, 1, 1), outcome(1, 1, 3), barrier(1, 2, "a"), outcome(1, 2, 0)]
        self.check(marks + late, "BodgggBo")

    def test_a_mark_is_read_as_it_was_written_and_nothing_else_is_one(self):
        most = 2**64 - 1
        read = lambda text: believe.mark(headers(text))
        self.assertEqual(read(barrier(7, 0x1F, "9f-2")), ("barrier", 7, 0x1F, "9f-2", "node"))
        self.assertEqual(read(outcome(most, most, 3)), ("outcome", most, most, 3))
        self.assertEqual(read("barrier 1 0a run an owner")[4], "an owner")
        wrong = "|outcome|outcome 1 1|outcome 1 g 1|outcome 1 1 1 1|outcome -1 1 1|outcome 1 1 1_0"
        for text in (wrong + "|barrier 1 1 a|x 1 1 1").split("|"):
            self.assertIsNone(read(text), text)
        for none in (None, [], [("other", b"outcome 1 1 1")], [(believe.HEADER, None)]):
            self.assertEqual(Belief().judge(none), believe.FOREIGN)
        self.assertEqual(Belief().judge([(believe.HEADER, b"\xff")]), believe.FOREIGN)

    def test_what_is_believed_of_each_owner_is_a_prefix_before_the_next_barrier(self):
        for seed in range(500):
            chance = random.Random(seed)
            sent, belief, believed = [], Belief(), []
            for _ in range(chance.randrange(1, 200)):
                kind, odd = chance.randrange(10), chance.random() < 0.5
                if kind == 0 or not sent:
                    take, number = len(sent), None
                    sent.append(0)
                    mark = barrier(take + 1, take, "run")
                else:
                    take = max(len(sent) - 1 - chance.randrange(4), 0)
                    if kind == 1:  # one is lost on the way
                        sent[take] += 1
                    again = kind == 2 and odd
                    number = max(sent[take] - 1, 0) if again else sent[take]
                    sent[take] += not again
                    mark = outcome(take + 1, take, number)
                if belief.judge(headers(mark)) == believe.BELIEVED:
                    self.assertEqual(take, len(sent) - 1, f"only the newest, seed {seed}")
                    believed.append((take, number))
            for one, next_one in zip(believed, believed[1:]):
                follows = next_one == (one[0], one[1] + 1) or next_one[0] > one[0]
                self.assertTrue(follows, f"{one} {next_one}, seed {seed}")
                self.assertTrue(next_one[0] == one[0] or next_one[1] == 0, f"seed {seed}")


if __name__ == "__main__":
    unittest.main()
