"""Which records of an outcomes topic count, for consumers that are not ours.

Anybody who may write can append to the topic, also an owner that was replaced while it was frozen
(a zombie). So each record says in its header `treasurehunt` under which ownership it was written,
and readers go by that alone. One `Belief` for each partition, asked for every record in order.
The same rule in Rust: broker/src/kafka/believe.rs.
"""

HEADER = "treasurehunt"

BELIEVED = "believed"  # the only verdict whose record counts
BARRIER = "barrier"  # a new owner begins; no outcome
FOREIGN = "foreign"  # no owner wrote it
NOT_THE_OWNER = "not the owner"  # its owner was replaced before, or never was one
DOUBLED = "doubled"  # it is there already
AFTER_GAP = "after a gap"  # one before it is missing


class Belief:
    def __init__(self):
        self.holder = None  # epoch, take and incarnation of the newest owner
        self.next = None  # the number of its next record; None after a gap

    def judge(self, headers):
        """`headers` as confluent-kafka gives them: a list of names and bytes, or None."""
        kind, epoch, take, *rest = mark(headers) or (None, None, None)
        if kind == "barrier":
            incarnation, _owner = rest
            old = self.holder
            if old and epoch <= old[0] and (epoch, incarnation) != (old[0], old[2]):
                return NOT_THE_OWNER
            self.holder, self.next = (epoch, take, incarnation), 0
            return BARRIER
        if kind == "outcome":
            if not self.holder or (epoch, take) != self.holder[:2]:
                return NOT_THE_OWNER
            number = rest[0]
            if number == self.next:
                self.next += 1
                return BELIEVED
            if self.next is not None and number < self.next:
                return DOUBLED
            self.next = None
            return AFTER_GAP
        return FOREIGN


def mark(headers):
    """`barrier EPOCH TAKE INCARNATION OWNER` or `outcome EPOCH TAKE NUMBER`; None for all else."""
    texts = [value for name, value in headers or [] if name == HEADER]
    try:
        words = texts[0].decode().split(" ", 4)
        kind, epoch, take = words[0], decimal(words[1]), int(words[2], 16)
        if kind == "barrier" and len(words) == 5:
            return kind, epoch, take, words[3], words[4]
        if kind == "outcome" and len(words) == 4:
            return kind, epoch, take, decimal(words[3])
    except (AttributeError, IndexError, ValueError):
        pass
    return None


def decimal(word):
    if not (word.isascii() and word.isdigit()):
        raise ValueError(word)
    return int(word)
