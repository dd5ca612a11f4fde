"""Reads an outcomes topic as any Kafka client may, and tells an owner's outcomes from a zombie's.

Prints every record as a line of JSON with its verdict; only `believed` ones count, and only these
are decoded (treasurehunt.v1.OutcomeRecord). Reads up to where the topic ended at the start, or,
with --count, until that many outcomes are believed; exit code 1 if that takes longer than --seconds.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from google.protobuf.json_format import MessageToDict

import believe

PROTO = pathlib.Path(__file__).resolve().parents[2] / "events" / "proto"
# Longest wait for what brokers know of a topic.
ASK_SECONDS = 20


def main():
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--bootstrap", required=True)
    flags.add_argument("--topic", required=True)
    flags.add_argument("--count", type=int)
    flags.add_argument("--seconds", type=float, default=30)
    flags.add_argument("--proto", default=PROTO)
    flags = flags.parse_args()
    record_type = outcome_record(flags.proto)
    # No group is joined: the name is only asked for, and nothing is committed.
    consumer = Consumer(
        {
            "bootstrap.servers": flags.bootstrap,
            "group.id": "outcomes",
            "enable.auto.commit": False,
        }
    )
    topic = consumer.list_topics(flags.topic, timeout=ASK_SECONDS).topics[flags.topic]
    places = [TopicPartition(flags.topic, number, OFFSET_BEGINNING) for number in topic.partitions]
    if not places:
        sys.exit(f"there is no topic {flags.topic}")
    ends = {}
    if flags.count is None:
        for place in places:
            first, end = consumer.get_watermark_offsets(place, timeout=ASK_SECONDS)
            if end > first:
                ends[place.partition] = end
    consumer.assign(places)
    beliefs = {place.partition: believe.Belief() for place in places}
    believed, deadline = 0, time.monotonic() + flags.seconds
    while ends if flags.count is None else believed < flags.count:
        if time.monotonic() > deadline:
            sys.exit(f"{believed} outcomes believed within {flags.seconds} s")
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error():
            print(message.error(), file=sys.stderr)
            continue
        partition, offset = message.partition(), message.offset()
        verdict = beliefs[partition].judge(message.headers())
        line = {"partition": partition, "offset": offset, "verdict": verdict}
        if verdict == believe.BELIEVED:
            believed += 1
            record = record_type.FromString(message.value() or b"")
            line["outcome"] = MessageToDict(record, preserving_proto_field_name=True)
        print(json.dumps(line), flush=True)
        if offset + 1 >= ends.get(partition, offset + 2):
            del ends[partition]
    consumer.close()


def outcome_record(proto):
    """The type from the .proto file, as protoc makes it for Python."""
    with tempfile.TemporaryDirectory() as folder:
        file = "treasurehunt/v1/treasurehunt.proto"
        subprocess.run(["protoc", f"-I{proto}", f"--python_out={folder}", file], check=True)
        sys.path.insert(0, folder)
        from treasurehunt.v1 import treasurehunt_pb2
    return treasurehunt_pb2.OutcomeRecord


if __name__ == "__main__":
    main()
