//! Events between nodes: `client` sends a batch to the node that serves its partition, `service` is
//! what other nodes call, `receive` takes a batch in, `pass` tells nodes of the hunt from others. I/O.

pub(crate) mod client;
pub(crate) mod pass;
mod receive;
mod service;
