//! The KV service: ranges, puts, deletes, transactions, compaction, with etcd's limits, codes
//! and texts.

use std::collections::BTreeSet;

use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbCompare, PbDeleteRequest, PbDeleteResponse,
    PbKeyValue, PbKvService, PbPutRequest, PbPutResponse, PbRangeRequest, PbRangeResponse,
    PbRangeStreamResponse, PbResponseOp, PbTargetUnion, PbTxnOpRequest, PbTxnOpResponse,
    PbTxnRequest, PbTxnRequestOp, PbTxnResponse,
};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use super::SimEtcd;
use super::faults::Faults;
use super::mvcc::{Mvcc, Refusal};

const OPS_MAX: usize = 128;
const REQUEST_MAX: usize = 1_572_864;

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        match refusal {
            Refusal::Compacted => {
                Status::out_of_range("etcdserver: mvcc: required revision has been compacted")
            }
            Refusal::Future => {
                Status::out_of_range("etcdserver: mvcc: required revision is a future revision")
            }
            Refusal::NoLease => Status::not_found("etcdserver: requested lease not found"),
        }
    }
}

impl SimEtcd {
    /// Runs a write as its own task, so that it happens even when the caller has given up: a
    /// frozen server carries out later what it had received.
    pub(super) async fn write<T, F>(&self, write: F) -> Result<Response<T>, Status>
    where
        T: Send + 'static,
        F: FnOnce(&mut Mvcc, &Faults) -> Result<T, Status> + Send + 'static,
    {
        let etcd = self.clone();
        let task = tokio::spawn(async move {
            let faults = etcd.admit().await?;
            let result = etcd.change(|store| write(store, &faults))?;
            // Frozen after the write and before the answer is possible too.
            etcd.thawed().await;
            let mut lost = false;
            etcd.shared.faults.send_if_modified(|faults| {
                lost = faults.lost_answers > 0;
                faults.lost_answers = faults.lost_answers.saturating_sub(1);
                lost
            });
            match lost {
                true => Err(Status::unavailable("etcdserver: request timed out")),
                false => Ok(Response::new(result)),
            }
        });
        task.await.map_err(|e| Status::internal(e.to_string()))?
    }
}

fn range(store: &Mvcc, request: &PbRangeRequest) -> Result<PbRangeResponse, Status> {
    let mut kvs = store.range(&request.key, &request.range_end, request.revision)?;
    let count = i64::try_from(kvs.len()).unwrap_or(i64::MAX);
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let more = limit > 0 && kvs.len() > limit;
    if more {
        kvs.truncate(limit);
    }
    if request.count_only {
        kvs.clear();
    }
    Ok(PbRangeResponse { header: Some(store.header()), kvs, more, count })
}

fn refuse_if_full(faults: &Faults) -> Result<(), Status> {
    match faults.full {
        true => Err(Status::resource_exhausted("etcdserver: mvcc: database space exceeded")),
        false => Ok(()),
    }
}

fn holds(store: &Mvcc, compare: &PbCompare) -> bool {
    let found = store.get(&compare.key);
    let number = |of: fn(&PbKeyValue) -> i64| found.map_or(0, of);
    let order = match &compare.target_union {
        Some(PbTargetUnion::Version(v)) => number(|kv| kv.version).cmp(v),
        Some(PbTargetUnion::CreateRevision(v)) => number(|kv| kv.create_revision).cmp(v),
        Some(PbTargetUnion::ModRevision(v)) => number(|kv| kv.mod_revision).cmp(v),
        Some(PbTargetUnion::Lease(v)) => number(|kv| kv.lease).cmp(v),
        Some(PbTargetUnion::Value(v)) => match found {
            Some(kv) => kv.value.cmp(v),
            None => return false,
        },
        None => return false,
    };
    match compare.result {
        0 => order.is_eq(),
        1 => order.is_gt(),
        2 => order.is_lt(),
        _ => order.is_ne(),
    }
}

fn check(txn: &PbTxnRequest) -> Result<(), Status> {
    let parts = [txn.compare.len(), txn.success.len(), txn.failure.len()];
    if parts.into_iter().any(|ops| ops > OPS_MAX) {
        return Err(Status::invalid_argument("etcdserver: too many operations in txn request"));
    }
    for ops in [&txn.success, &txn.failure] {
        let mut keys = BTreeSet::new();
        for op in ops {
            if let Some(PbTxnOpRequest::RequestPut(put)) = &op.request
                && !keys.insert(&put.key)
            {
                let text = "etcdserver: duplicate key given in txn request";
                return Err(Status::invalid_argument(text));
            }
        }
    }
    let bytes = |op: &PbTxnRequestOp| match &op.request {
        Some(PbTxnOpRequest::RequestPut(put)) => put.key.len() + put.value.len(),
        _ => 0,
    };
    match txn.success.iter().map(bytes).sum::<usize>() > REQUEST_MAX {
        true => Err(Status::invalid_argument("etcdserver: request is too large")),
        false => Ok(()),
    }
}

fn run(store: &mut Mvcc, txn: PbTxnRequest, faults: &Faults) -> Result<PbTxnResponse, Status> {
    check(&txn)?;
    let succeeded = txn.compare.iter().all(|compare| holds(store, compare));
    let ops = if succeeded { txn.success } else { txn.failure };
    let puts = |op: &PbTxnRequestOp| matches!(op.request, Some(PbTxnOpRequest::RequestPut(_)));
    if ops.iter().any(puts) {
        refuse_if_full(faults)?;
    }
    let before = store.clone();
    let mut responses = Vec::with_capacity(ops.len());
    for op in ops {
        let response = match op.request {
            Some(PbTxnOpRequest::RequestRange(request)) => {
                PbTxnOpResponse::ResponseRange(range(store, &request)?)
            }
            Some(PbTxnOpRequest::RequestPut(put)) => {
                if let Err(refusal) = store.put(&put.key, &put.value, put.lease) {
                    *store = before;
                    return Err(refusal.into());
                }
                PbTxnOpResponse::ResponsePut(PbPutResponse::default())
            }
            Some(PbTxnOpRequest::RequestDeleteRange(request)) => {
                let deleted = store.delete(&request.key, &request.range_end);
                PbTxnOpResponse::ResponseDeleteRange(PbDeleteResponse {
                    deleted,
                    ..PbDeleteResponse::default()
                })
            }
            Some(PbTxnOpRequest::RequestTxn(_)) | None => {
                return Err(Status::unimplemented("nested transactions are not simulated"));
            }
        };
        responses.push(PbResponseOp { response: Some(response) });
    }
    store.seal();
    Ok(PbTxnResponse { header: Some(store.header()), succeeded, responses })
}

#[tonic::async_trait]
impl PbKvService for SimEtcd {
    async fn range(
        &self,
        request: Request<PbRangeRequest>,
    ) -> Result<Response<PbRangeResponse>, Status> {
        self.admit().await?;
        let answer = self.look(|store| range(store, request.get_ref()))?;
        self.thawed().await;
        Ok(Response::new(answer))
    }

    type RangeStreamStream = BoxStream<'static, Result<PbRangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        _: Request<PbRangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("unknown method RangeStream"))
    }

    async fn put(&self, request: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        let put = request.into_inner();
        self.write(move |store, faults| {
            if put.key.len() + put.value.len() > REQUEST_MAX {
                return Err(Status::invalid_argument("etcdserver: request is too large"));
            }
            refuse_if_full(faults)?;
            store.put(&put.key, &put.value, put.lease)?;
            store.seal();
            Ok(PbPutResponse { header: Some(store.header()), prev_kv: None })
        })
        .await
    }

    async fn delete_range(
        &self,
        request: Request<PbDeleteRequest>,
    ) -> Result<Response<PbDeleteResponse>, Status> {
        let delete = request.into_inner();
        self.write(move |store, _| {
            let deleted = store.delete(&delete.key, &delete.range_end);
            store.seal();
            Ok(PbDeleteResponse { header: Some(store.header()), deleted, prev_kvs: Vec::new() })
        })
        .await
    }

    async fn txn(&self, request: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        let txn = request.into_inner();
        self.write(move |store, faults| run(store, txn, faults)).await
    }

    async fn compact(
        &self,
        request: Request<PbCompactionRequest>,
    ) -> Result<Response<PbCompactionResponse>, Status> {
        let revision = request.into_inner().revision;
        self.write(move |store, _| {
            store.compact(revision)?;
            Ok(PbCompactionResponse { header: Some(store.header()) })
        })
        .await
    }
}
