//! What producers and agents say to each other in a simulation: one question and one answer per
//! connection, as JSON behind their length. Stands in for the gateway's gRPC. I/O on the simulated
//! network.

use std::io;
use std::time::Duration;

use events::Event;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use turmoil::net::TcpStream;

/// Where agents listen.
pub(crate) const PORT: u16 = 7000;
/// Longest wait for an answer. After it nobody knows what became of the question.
const ANSWER_WITHIN: Duration = Duration::from_millis(2_500);
/// Far above any batch.
const BYTES_MAX: usize = 4 << 20;

/// Events that belong to one partition, whichever that is by now.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) events: Vec<Event>,
    /// From another partition's outbox and not from a producer.
    pub(crate) outbox: bool,
    /// Handed over by another agent already: not to be handed on.
    pub(crate) handed: bool,
}

/// What became of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Durable there, the first at that offset, the others behind it.
    Accepted { partition: u32, offset: u64, epoch: u64 },
    /// Nothing of it is acknowledged.
    Again { why: String },
}

/// Asks an agent.
pub(crate) async fn ask(host: &str, question: &Question) -> io::Result<Answer> {
    let asked = async {
        let mut stream = TcpStream::connect((host, PORT)).await?;
        send(&mut stream, question).await?;
        receive(&mut stream).await
    };
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

pub(crate) async fn send(stream: &mut TcpStream, message: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    stream.write_u32(u32::try_from(bytes.len()).map_err(io::Error::other)?).await?;
    stream.write_all(&bytes).await
}

pub(crate) async fn receive<T: DeserializeOwned>(stream: &mut TcpStream) -> io::Result<T> {
    let length = stream.read_u32().await? as usize;
    if length > BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}
