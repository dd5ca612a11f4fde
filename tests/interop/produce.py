"""Sends events to an events topic, as any Kafka client may: JSON as the HTTP API takes it, one a
line on standard input. Says for each where it is durable. Exit code 1 if one is not.

The key decides the partition, so the partitioner must be Kafka's own (murmur2), which this client
does not use unless told: with another one, a player's events would come to somebody else's owner.
"""

import argparse
import json
import sys

from confluent_kafka import Producer

# What these are about is the treasure; all others are the player's.
OF_TREASURES = {"sight"}
# Longest wait for the acknowledgement of all.
FLUSH_SECONDS = 30


def main():
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--bootstrap", required=True)
    flags.add_argument("--topic", required=True)
    flags = flags.parse_args()
    producer = Producer(
        {
            "bootstrap.servers": flags.bootstrap,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 5,
        }
    )
    failed = 0

    def delivered(error, message):
        nonlocal failed
        if error is not None:
            failed += 1
            print(f"{message.key()}: {error}", file=sys.stderr)
            return
        key, partition = message.key().decode(), message.partition()
        print(json.dumps({"key": key, "partition": partition, "offset": message.offset()}))

    for line in filter(str.strip, sys.stdin):
        event = json.loads(line)
        key = event["treasure"] if event.get("kind") in OF_TREASURES else event["player"]
        producer.produce(flags.topic, key=key, value=line.strip(), on_delivery=delivered)
        producer.poll(0)
    left = producer.flush(FLUSH_SECONDS)
    if failed or left:
        sys.exit(f"{failed} refused, {left} not acknowledged within {FLUSH_SECONDS} s")


if __name__ == "__main__":
    main()
