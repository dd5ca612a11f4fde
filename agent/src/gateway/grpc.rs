//! The gRPC port: `Hunts` for producers and readers, `Peers` for other nodes, reflection and
//! health, behind the layers that every port has. In: connections. Out: answers until told to stop.
//! I/O.

use axum::Router;
use events::v1::hunts_server::HuntsServer;
use events::v1::peers_server::PeersServer;
use events::{BODY_BYTES_MAX, FILE_DESCRIPTOR_SET};
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService as _;
use tonic::service::Routes;

use super::bounds::PEER_BATCH_BYTES_MAX;
use super::hunts::Service;
use super::layers::Limits;
use super::listen::{self, Port};
use super::peers::pass;
use super::publish::Gateway;
use super::{metered, status};

type Peers = PeersServer<Service>;

/// Why gRPC could not be served.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The descriptors that were built in are broken.
    #[error("describing the services")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves until `stop`: then streams end, calls under way are answered, and new ones refused.
pub async fn serve(port: Port, gateway: Gateway, stop: CancellationToken) -> Result<(), GrpcError> {
    let limits = || Limits::new(status::shed, gateway.metrics().shed.clone());
    let service = Service { gateway: gateway.clone(), stop: stop.clone() };
    let hunts = HuntsServer::new(service.clone()).max_decoding_message_size(BODY_BYTES_MAX);
    let peers = Peers::new(service).max_decoding_message_size(PEER_BATCH_BYTES_MAX);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<HuntsServer<Service>>().await;
    reporter.set_serving::<Peers>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let open = Routes::new(hunts).add_service(health).add_service(reflection);
    let peers = Router::new().route_service(&format!("/{}/{{*rest}}", Peers::NAME), peers);
    // Other nodes have limits of their own: what floods the open side must not part the nodes.
    let metered = |bodies, router| metered::around(gateway.clone(), bodies, router);
    let open = limits().around(metered(gateway.bodies(), open.into_axum_router()));
    let peers = limits().around(metered(gateway.peer_bytes(), peers));
    let router = open.merge(pass::guarded(gateway.clone(), peers));
    let ending = async {
        stop.cancelled().await;
        reporter.set_not_serving::<HuntsServer<Service>>().await;
        reporter.set_not_serving::<Peers>().await;
    };
    tokio::join!(listen::serve(port, router, stop.clone()), ending);
    Ok(())
}
