//! Carries one step out and says what became of each part of it. No choices are made here. I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use krafka::admin::{
    AlterPartitionReassignmentsOptions, ConfigOp, ConfigResource, CreatePartitionsOptions,
    CreateTopicsOptions, DeleteTopicsOptions, ElectLeadersOptions, ElectionType,
    IncrementalAlterConfigsOptions, NewTopic, TopicPartition,
};
use krafka::error::{ErrorCode, KrafkaError};

use super::super::plan::{Change, Refusal, Step, What, said};
use super::super::seen::{BrokerId, Spot};
use super::look::{number, spot};
use super::{Admin, AdminError, of};

/// What became of a part of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The cluster took what was tried.
    Taken(What, String),
    /// The cluster said no.
    Refused(What, Refusal),
    /// One setting of several was refused, nobody knows which: none of them was taken.
    Singly(String),
}

impl Admin {
    /// Does it. An error says that nobody answered, or not to all of it.
    pub async fn carry_out(&self, step: &Step) -> Result<Vec<Answer>, AdminError> {
        match step {
            Step::Create { topic, replicas, configs } => {
                self.create(topic, replicas, configs).await
            }
            Step::Raise { topic, to, .. } => self.raise(topic, *to).await,
            Step::Configure { topic, changes } => self.configure(topic, changes).await,
            Step::Move(moves) => self.reassign(moves).await,
            Step::Elect(spots) => self.elect(spots).await,
        }
    }

    /// Deletes these topics. Deleting what is gone is no error.
    pub async fn remove(&self, names: &[&str]) -> Result<(), AdminError> {
        let gone = self.client.delete_topics(names, DeleteTopicsOptions::default()).await;
        for result in gone.map_err(of)?.into_values() {
            match result {
                Err(error) if !is(&error, ErrorCode::UnknownTopicOrPartition) => {
                    return Err(of(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn create(
        &self,
        name: &str,
        replicas: &[Vec<BrokerId>],
        configs: &BTreeMap<String, String>,
    ) -> Result<Vec<Answer>, AdminError> {
        let ids = |replicas: &Vec<BrokerId>| replicas.iter().map(|broker| broker.0).collect();
        let placed = (0..).zip(replicas.iter().map(ids)).collect::<HashMap<i32, Vec<i32>>>();
        let mut topic = NewTopic::with_replica_assignment(name, placed).map_err(of)?;
        for (key, value) in configs {
            topic = topic.with_config(key, value);
        }
        let made = self.client.create_topics([topic], CreateTopicsOptions::default()).await;
        let what = What::Create(name.to_owned());
        let made = one(made.map_err(of)?)?;
        if made.as_ref().is_err_and(|error| is(error, ErrorCode::TopicAlreadyExists)) {
            return Ok(vec![Answer::Taken(what, format!("{configs:?}"))]);
        }
        let mut answers = vec![answer(what, made, format!("{configs:?}"))?];
        if let [Answer::Refused(_, refusal)] = &answers[..]
            && refusal.of_setting
        {
            answers.push(Answer::Singly(name.to_owned()));
        }
        Ok(answers)
    }

    async fn raise(&self, name: &str, to: u32) -> Result<Vec<Answer>, AdminError> {
        let total = i32::try_from(to).unwrap_or(i32::MAX);
        let options = CreatePartitionsOptions::default();
        let made = self.client.create_partitions([(name, total)], options).await;
        let made = one(made.map_err(of)?)?;
        Ok(vec![answer(What::Raise(name.to_owned()), made, to.to_string())?])
    }

    async fn configure(&self, name: &str, changes: &[Change]) -> Result<Vec<Answer>, AdminError> {
        let op = |change: &Change| match &change.to {
            Some(value) => ConfigOp::set(&change.key, value),
            None => ConfigOp::delete(&change.key),
        };
        let ops = changes.iter().map(op).collect();
        let altered = [(ConfigResource::topic(name), ops)];
        let options = IncrementalAlterConfigsOptions::default();
        let altered = self.client.incremental_alter_configs(altered, options).await;
        let altered = one(altered.map_err(of)?)?;
        let what = |change: &Change| What::Config(name.to_owned(), change.key.clone());
        let tried = |change: &Change| change.to.clone().unwrap_or_default();
        match (altered, changes) {
            (Ok(()), changes) => {
                Ok(changes.iter().map(|c| Answer::Taken(what(c), tried(c))).collect())
            }
            (Err(error), [change]) => Ok(vec![answer(what(change), Err(error), tried(change))?]),
            (Err(error), _) => match of(error) {
                AdminError::Refused { .. } => Ok(vec![Answer::Singly(name.to_owned())]),
                error => Err(error),
            },
        }
    }

    async fn reassign(
        &self,
        moves: &BTreeMap<Spot, Vec<BrokerId>>,
    ) -> Result<Vec<Answer>, AdminError> {
        let target = |(spot, to): (&Spot, &Vec<BrokerId>)| {
            Some((at(spot)?, Some(to.iter().map(|broker| broker.0).collect())))
        };
        let targets: Vec<(TopicPartition, Option<Vec<i32>>)> =
            moves.iter().filter_map(target).collect();
        let options = AlterPartitionReassignmentsOptions::default();
        let begun = self.client.alter_partition_reassignments(targets, options).await;
        let answered = begun.map_err(of)?.into_iter().filter_map(|(at, result)| {
            let spot = spot(&at)?;
            let tried = moves.get(&spot).map(|to| said(to)).unwrap_or_default();
            Some(answer(What::Move(spot), result, tried))
        });
        answered.collect()
    }

    async fn elect(&self, spots: &BTreeSet<Spot>) -> Result<Vec<Answer>, AdminError> {
        let wanted = spots.iter().filter_map(at).collect();
        let options = ElectLeadersOptions::default();
        let elected = self.client.elect_leaders(ElectionType::Preferred, Some(wanted), options);
        let answered = elected.await.map_err(of)?.into_iter().filter_map(|(at, result)| {
            Some(answer(What::Elect(spot(&at)?), result, String::new()))
        });
        answered.collect()
    }
}

fn at(spot: &Spot) -> Option<TopicPartition> {
    Some(TopicPartition::new(spot.topic.clone(), number(spot.partition)?))
}

/// The answer about the one thing that was asked for.
fn one<K>(
    answers: HashMap<K, Result<(), KrafkaError>>,
) -> Result<Result<(), KrafkaError>, AdminError> {
    let why = "the cluster did not say what became of it".to_owned();
    answers.into_values().next().ok_or(AdminError::Unreachable { why })
}

fn is(error: &KrafkaError, wanted: ErrorCode) -> bool {
    matches!(error, KrafkaError::Broker { code, .. } if *code == wanted)
}

/// A refusal is an answer; anything else is an error.
fn answer(
    what: What,
    result: Result<(), KrafkaError>,
    tried: String,
) -> Result<Answer, AdminError> {
    match result.map_err(of) {
        Ok(()) => Ok(Answer::Taken(what, tried)),
        Err(AdminError::Refused { of_setting, why }) => {
            Ok(Answer::Refused(what, Refusal { tried, of_setting, why }))
        }
        Err(error) => Err(error),
    }
}
