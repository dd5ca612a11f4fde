//! The way in for events and out for outcomes, on every node alike. `publish` answers each event,
//! `carry` brings it to whoever serves its partition (`delivery` waits for an owner, `peers` are other
//! nodes), `http` and `grpc` are the ports. I/O.

mod admissible;
mod admission;
pub mod answer;
mod body;
mod bounds;
mod carry;
mod connections;
mod delivery;
mod descriptors;
mod framing;
mod group;
pub mod grpc;
pub mod http;
mod hunts;
mod layers;
pub mod listen;
mod metered;
mod metrics;
mod outcomes;
mod patient;
mod peers;
mod publish;
mod sorted;
mod status;
mod steady;

pub use connections::Connections;
pub use descriptors::connections as connections_fitting;
pub use metrics::GatewayMetrics;
pub use publish::Gateway;

#[cfg(test)]
mod damaged_tests;
#[cfg(test)]
mod decoding_tests;
#[cfg(test)]
mod frozen_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod spread_tests;
#[cfg(test)]
mod traced_tests;
