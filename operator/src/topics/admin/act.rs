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
    /// The cluster said not now.
    Busy(What, Refusal),
    /// One setting of several was refused, nobody knows which: none of them was taken.
    Singly(String),
}

/// What became of a step.
#[derive(Debug, Default)]
pub struct Answers {
    /// Of its parts that were answered.
    pub given: Vec<Answer>,
    /// Why there is no answer to the others, if there are others.
    pub missing: Option<AdminError>,
}

impl FromIterator<Result<Answer, AdminError>> for Answers {
    fn from_iter<I: IntoIterator<Item = Result<Answer, AdminError>>>(all: I) -> Answers {
        let mut answers = Answers::default();
        for one in all {
            match one {
                Ok(answer) => answers.given.push(answer),
                Err(error) => answers.missing = answers.missing.or(Some(error)),
            }
        }
        answers
    }
}

impl From<Result<Vec<Answer>, AdminError>> for Answers {
    fn from(result: Result<Vec<Answer>, AdminError>) -> Answers {
        match result {
            Ok(given) => Answers { given, missing: None },
            Err(error) => Answers { given: Vec::new(), missing: Some(error) },
        }
    }
}

impl Admin {
    /// Does it.
    pub async fn carry_out(&self, step: &Step) -> Answers {
        match step {
            Step::Create { topic, replicas, configs } => {
                self.create(topic, replicas, configs).await.into()
            }
            Step::Raise { topic, to, .. } => self.raise(topic, *to).await.into(),
            Step::Configure { topic, changes } => self.configure(topic, changes).await.into(),
            Step::Cancel(spots) => self.cancel(spots).await,
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
                AdminError::Busy { why } => {
                    let refusal = |tried| Refusal { tried, of_setting: false, why: why.clone() };
                    let busy = |c: &Change| Answer::Busy(what(c), refusal(tried(c)));
                    Ok(changes.iter().map(busy).collect())
                }
                error => Err(error),
            },
        }
    }

    async fn reassign(&self, moves: &BTreeMap<Spot, Vec<BrokerId>>) -> Answers {
        let target = |(spot, to): (&Spot, &Vec<BrokerId>)| {
            Some((at(spot)?, Some(to.iter().map(|broker| broker.0).collect())))
        };
        let targets: Vec<(TopicPartition, Option<Vec<i32>>)> =
            moves.iter().filter_map(target).collect();
        let options = AlterPartitionReassignmentsOptions::default();
        let begun = self.client.alter_partition_reassignments(targets, options).await;
        each(begun, |spot, result| {
            let tried = moves.get(&spot).map(|to| said(to)).unwrap_or_default();
            answer(What::Move(spot), result, tried)
        })
    }

    async fn cancel(&self, spots: &BTreeSet<Spot>) -> Answers {
        let targets = spots.iter().filter_map(|spot| Some((at(spot)?, None)));
        let targets: Vec<(TopicPartition, Option<Vec<i32>>)> = targets.collect();
        let options = AlterPartitionReassignmentsOptions::default();
        let ended = self.client.alter_partition_reassignments(targets, options).await;
        each(ended, |spot, result| {
            let arrived =
                result.as_ref().is_err_and(|error| is(error, ErrorCode::NoReassignmentInProgress));
            let result = if arrived { Ok(()) } else { result };
            answer(What::Cancel(spot), result, String::new())
        })
    }

    async fn elect(&self, spots: &BTreeSet<Spot>) -> Answers {
        let wanted = spots.iter().filter_map(at).collect();
        let options = ElectLeadersOptions::default();
        let elected = self.client.elect_leaders(ElectionType::Preferred, Some(wanted), options);
        each(elected.await, |spot, result| answer(What::Elect(spot), result, String::new()))
    }
}

fn at(spot: &Spot) -> Option<TopicPartition> {
    Some(TopicPartition::new(spot.topic.clone(), number(spot.partition)?))
}

/// What became of each partition, or why none of them was answered.
fn each(
    answered: Result<HashMap<TopicPartition, Result<(), KrafkaError>>, KrafkaError>,
    read: impl Fn(Spot, Result<(), KrafkaError>) -> Result<Answer, AdminError>,
) -> Answers {
    match answered {
        Ok(all) => all.into_iter().filter_map(|(at, one)| Some(read(spot(&at)?, one))).collect(),
        Err(error) => Err(of(error)).into(),
    }
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
        Err(AdminError::Busy { why }) => {
            Ok(Answer::Busy(what, Refusal { tried, of_setting: false, why }))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_partition_is_not_told_hides_no_answer_of_another() {
        let partition = |id: i32| TopicPartition::new("t".to_owned(), id);
        let busy = KrafkaError::broker(ErrorCode::PreferredLeaderNotAvailable, "soon");
        let no = KrafkaError::broker(ErrorCode::InvalidReplicaAssignment, "no");
        let silent = KrafkaError::Timeout { operation: "elect".to_owned() };
        let all = [Ok(()), Err(busy), Err(no), Err(silent)];
        let all = (0..).zip(all).map(|(id, result)| (partition(id), result)).collect();
        let elected = |spot, result| answer(What::Elect(spot), result, String::new());
        let mut answers = each(Ok(all), elected);
        answers.given.sort_by_key(|answer| format!("{answer:?}"));
        let found: Vec<String> = answers.given.iter().map(|a| format!("{a:?}")).collect();
        let begins = ["Busy(Elect(", "Refused(Elect(", "Taken(Elect("];
        assert!(found.len() == 3 && found.iter().zip(begins).all(|(a, b)| a.starts_with(b)));
        assert!(matches!(answers.missing, Some(AdminError::Unreachable { .. })), "{answers:?}");
    }
}
