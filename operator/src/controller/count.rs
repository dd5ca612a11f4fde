//! What is counted over all hunts, once a second and when something is refused. In: the hunts. Out:
//! gauges. No I/O.

use std::collections::BTreeMap;

use config_schemas::documents::RefusalCode;

use super::Controller;

impl Controller {
    /// Counts what is counted over all hunts.
    pub(super) fn count(&self) {
        let mut refused: BTreeMap<RefusalCode, i64> = BTreeMap::new();
        let (mut resources, mut orphans) = (0, 0);
        self.metrics.forget_standings();
        for (name, kept) in &self.hunts {
            if let Some(standing) = &kept.hunt.standing {
                self.metrics.set_standing(name, standing, kept.hunt.unwell.len());
                self.metrics.set_hot(name, &kept.hunt.memory.rounds.hot());
            }
            if let (Some(stands), Some(_)) = (&kept.hunt.stands, &kept.hunt.resource) {
                self.metrics.stands.set(name, stands);
            }
            for code in &kept.hunt.refused {
                *refused.entry(*code).or_default() += 1;
            }
            match (&kept.hunt.resource, &kept.hunt.memory.meta) {
                (Some(_), _) => resources += 1,
                (None, Some(_)) => orphans += 1,
                (None, None) => {}
            }
        }
        self.metrics.set_refused(&refused);
        self.metrics.orphans.set(orphans);
        let all = i64::try_from(self.hunts.len()).unwrap_or(i64::MAX);
        self.metrics.hunts.with_label_values(&["any"]).set(all);
        self.metrics.hunts.with_label_values(&["source"]).set(resources);
    }
}
