//! Which partition a key belongs to, as ordinary Kafka clients reckon it: murmur2, kept positive,
//! modulo the number of partitions. In: a key. Out: a partition. Pure.

use config_schemas::PartitionId;

const SEED: u32 = 0x9747_b28c;
const FACTOR: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;
/// Java's clients drop the sign instead of taking the absolute value.
const POSITIVE: u32 = 0x7fff_ffff;

/// The partition of `key` in a topic of so many. The same as that of the Java client's default
/// partitioner and of librdkafka's `murmur2_random`, for keys that are there.
pub fn partition_of(key: &[u8], partitions: std::num::NonZeroU32) -> PartitionId {
    PartitionId((murmur2(key) & POSITIVE) % partitions)
}

/// MurmurHash2, 32 bits, with Kafka's seed; `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(key: &[u8]) -> u32 {
    // lengths beyond 32 bits wrap, as nothing that long is a key
    let mut hash = SEED ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(FACTOR);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(FACTOR) ^ mixed.wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(FACTOR);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    /// The vectors of Kafka's own `UtilsTest`.
    #[test]
    fn hashes_are_those_of_the_java_client() {
        let check = |key: &str, expected: i32| {
            assert_eq!(murmur2(key.as_bytes()), expected as u32, "{key}");
        };
        check("21", -973_932_308);
        check("foobar", -790_332_482);
        check("a-little-bit-long-string", -985_981_536);
        check("a-little-bit-longer-string", -1_486_304_829);
        check("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971);
        check("abc", 479_470_107);
    }

    proptest! {
        #[test]
        fn every_key_has_one_partition_that_is_there(
            key in proptest::collection::vec(any::<u8>(), 0..64),
            partitions in 1_u32..5_000,
        ) {
            let partitions = NonZeroU32::new(partitions).unwrap();
            let partition = partition_of(&key, partitions);
            prop_assert!(partition.0 < partitions.get());
            prop_assert_eq!(partition, partition_of(&key, partitions));
        }

        #[test]
        fn the_last_byte_counts_at_every_length(
            key in proptest::collection::vec(any::<u8>(), 1..16),
        ) {
            let mut other = key.clone();
            *other.last_mut().unwrap() ^= 1;
            prop_assert_ne!(murmur2(&key), murmur2(&other));
        }
    }
}
