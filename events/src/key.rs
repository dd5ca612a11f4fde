//! From an event's key to its partition, exactly as Kafka's default partitioner does, so that
//! ordinary Kafka clients agree with us. Pure.

use config_schemas::PartitionId;

const SEED: u32 = 0x9747_b28c;
const MIX: u32 = 0x5bd1_e995;

/// MurmurHash2, 32 bits, with the seed of Kafka's `Utils.murmur2`.
pub fn murmur2(data: &[u8]) -> u32 {
    // Kafka hashes lengths as 32-bit numbers too; keys are bounded far below that
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MIX);
        k ^= k >> 24;
        hash = hash.wrapping_mul(MIX) ^ k.wrapping_mul(MIX);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

/// The partition of a key among `partitions` (at least 1): Kafka's `toPositive(murmur2) % n`.
pub fn partition_of(key: &str, partitions: u32) -> PartitionId {
    PartitionId((murmur2(key.as_bytes()) & 0x7fff_ffff) % partitions.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn the_hash_is_kafkas() {
        let vectors: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (data, hash) in vectors {
            assert_eq!(murmur2(data) as i32, hash, "{}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn a_partition_is_the_positive_hash_modulo_the_count() {
        for (key, partitions, partition) in [("21", 16, 12), ("foobar", 10, 6), ("abc", 1, 0)] {
            assert_eq!(partition_of(key, partitions), PartitionId(partition), "{key}");
        }
        assert_eq!(partition_of("abc", 0), PartitionId(0));
    }

    proptest! {
        #[test]
        fn every_key_has_one_partition_that_is_there(
            key in "\\PC{0,64}",
            partitions in 1_u32..5_000,
        ) {
            let partition = partition_of(&key, partitions);
            prop_assert!(partition.0 < partitions);
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
