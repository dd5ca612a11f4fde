//! The Lease service. Renewing a lease that is gone is answered with ttl 0, not with an error.

use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse,
    PbLeaseLeasesRequest, PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse,
    PbLeaseService, PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
};
use futures::stream::{BoxStream, StreamExt as _, unfold};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::SimEtcd;

#[tonic::async_trait]
impl PbLeaseService for SimEtcd {
    async fn lease_grant(
        &self,
        request: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        let request = request.into_inner();
        self.write(move |store, faults| {
            if faults.full {
                let text = "etcdserver: mvcc: database space exceeded";
                return Err(Status::resource_exhausted(text));
            }
            let (id, ttl) = store.grant(request.id, request.ttl, Instant::now());
            let header = Some(store.header());
            Ok(PbLeaseGrantResponse { header, id, ttl, error: String::new() })
        })
        .await
    }

    async fn lease_revoke(
        &self,
        request: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        let id = request.into_inner().id;
        self.write(move |store, _| {
            store.revoke(id)?;
            Ok(PbLeaseRevokeResponse { header: Some(store.header()) })
        })
        .await
    }

    type LeaseKeepAliveStream = BoxStream<'static, Result<PbLeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let era = self.admit().await?.era;
        let state = (self.clone(), request.into_inner());
        let answers = unfold(state, move |(etcd, mut requests)| async move {
            let asked = tokio::select! {
                status = etcd.broken(era) => Err(status),
                asked = requests.message() => asked,
            };
            let asked = match asked {
                Ok(asked) => asked?,
                Err(status) => return Some((Err(status), (etcd, requests))),
            };
            etcd.thawed().await;
            etcd.expire_leases(Instant::now());
            let ttl = etcd.change(|store| store.renew(asked.id, Instant::now()));
            let header = Some(etcd.header());
            let answer = PbLeaseKeepAliveResponse { header, id: asked.id, ttl };
            Some((Ok(answer), (etcd, requests)))
        });
        // A stream that failed is over.
        let mut failed = false;
        let until_failed = answers.take_while(move |answer| {
            let go_on = !failed;
            failed = answer.is_err();
            std::future::ready(go_on)
        });
        Ok(Response::new(until_failed.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<PbLeaseTimeToLiveRequest>,
    ) -> Result<Response<PbLeaseTimeToLiveResponse>, Status> {
        self.admit().await?;
        let request = request.into_inner();
        let found = self.look(|store| store.lease(request.id, Instant::now()));
        let (granted_ttl, ttl, keys) = found.unwrap_or((0, -1, Vec::new()));
        let (header, id) = (Some(self.header()), request.id);
        let keys = if request.keys { keys } else { Vec::new() };
        Ok(Response::new(PbLeaseTimeToLiveResponse { header, id, ttl, granted_ttl, keys }))
    }

    async fn lease_leases(
        &self,
        _: Request<PbLeaseLeasesRequest>,
    ) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        Err(Status::unimplemented("listing leases is not simulated"))
    }
}
