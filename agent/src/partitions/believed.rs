//! Into how many partitions the hunt is cut, as this node believes: a marker that takes a cut back is
//! not followed, since keys have gone over and their old partitions play them no more. In: markers, one
//! after the other. Out: the cut. Pure, but for a line in the log.

use std::sync::Arc;

use config_schemas::Cuts;
use config_schemas::documents::Meta;

/// What the hunt of one resource is cut into.
#[derive(Default)]
pub(super) struct Believed {
    uid: String,
    cuts: Arc<Cuts>,
    /// The last marker that was not followed.
    refused: Option<Cuts>,
}

impl Believed {
    /// By that marker, and those before it.
    pub(super) fn of(&mut self, meta: &Meta) -> Arc<Cuts> {
        let cuts = Cuts::of(meta);
        if self.uid != meta.uid || cuts.extends(&self.cuts) {
            *self = Believed { uid: meta.uid.clone(), cuts: Arc::new(cuts), refused: None };
        } else if self.refused.as_ref() != Some(&cuts) {
            tracing::error!(
                found = ?cuts.counts(), known = ?self.cuts.counts(),
                "the hunt's marker takes a cut into more partitions back, and is not followed"
            );
            self.refused = Some(cuts);
        }
        self.cuts.clone()
    }
}

#[cfg(test)]
mod tests {
    use config_schemas::BrokerKind;

    use super::*;

    fn meta(uid: &str, before: &[u32], partitions: u32) -> Meta {
        Meta {
            format: 1,
            store_epoch: String::new(),
            uid: uid.to_owned(),
            partitions,
            before: before.to_vec(),
            next: None,
            hash: String::new(),
            cluster: None,
            broker: BrokerKind::Embedded,
        }
    }

    #[test]
    fn a_cut_is_never_taken_back_but_for_another_resource() {
        let mut believed = Believed::default();
        let mut check = |uid: &str, before: &[u32], partitions, expected: &[u32]| {
            let found = believed.of(&meta(uid, before, partitions));
            assert_eq!(found.counts(), expected, "{uid} {before:?} {partitions}");
        };
        check("a", &[], 16, &[16]);
        check("a", &[16], 32, &[16, 32]);
        check("a", &[], 16, &[16, 32]);
        check("a", &[], 32, &[16, 32]);
        check("a", &[16, 32], 64, &[16, 32, 64]);
        check("b", &[], 8, &[8]);
    }
}
