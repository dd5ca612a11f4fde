//! `Peers` of treasurehunt.v1: what other nodes call. In: batches for one partition. Out: answers,
//! or what this node knows of the partition's owner. I/O.

use events::v1;
use events::v1::peers_server::Peers;
use tonic::{Request, Response, Status};

use super::receive;
use crate::gateway::answer::Refusal;
use crate::gateway::bounds::BUSY_RETRY;
use crate::gateway::hunts::{Service, bounded, response};
use crate::gateway::status::{overloaded, unavailable, wrong_owner};

#[tonic::async_trait]
impl Peers for Service {
    async fn hand(
        &self,
        request: Request<v1::HandRequest>,
    ) -> Result<Response<v1::PublishResponse>, Status> {
        let request = request.into_inner();
        self.known(&request.hunt)?;
        bounded(&self.gateway, request.events.len())?;
        let room = self.gateway.room_of_batch(request.events.len());
        let _room = room.ok_or_else(|| overloaded(BUSY_RETRY))?;
        let _admitted = self.gateway.admit_batch().ok_or_else(|| overloaded(BUSY_RETRY))?;
        match receive::take(&self.gateway, request).await {
            Ok(answers) => Ok(Response::new(response(answers))),
            Err(receive::Refused::WrongOwner { epoch, revision }) => {
                Err(wrong_owner(epoch, revision))
            }
            Err(receive::Refused::Events(Refusal::Overloaded { retry_after })) => {
                Err(overloaded(retry_after))
            }
            // Nobody can tell which of them it is but who hands over fewer.
            Err(receive::Refused::Events(Refusal::TooLarge { problem })) => {
                Err(Status::out_of_range(problem.value))
            }
            Err(receive::Refused::Events(refusal)) => {
                let retry_after = refusal.retry_after().unwrap_or(BUSY_RETRY);
                Err(unavailable("the log cannot be written", retry_after))
            }
        }
    }
}
