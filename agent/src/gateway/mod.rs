//! The way in for events and out for outcomes, on every node alike. `publish` answers each event,
//! `carry` brings it to whoever serves its partition, `http` and `grpc` are the ports. I/O.

pub mod answer;
mod body;
mod bounds;
mod carry;
mod group;
pub mod grpc;
mod hand;
mod hold;
pub mod http;
pub mod listen;
mod outcomes;
mod peers;
mod publish;
mod sorted;

pub use publish::Gateway;

#[cfg(test)]
mod server_tests;
